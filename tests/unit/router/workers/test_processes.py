"""A router with several workers as a user runs it: real processes, and what is left when one of them dies."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import pytest
from ports import free_port

from fairlead_router.config import RouterConfig, StaticEndpoint
from fairlead_router.workers import decider, worker
from fairlead_router.workers.supervisor import Serving, Supervisor

BIN = Path(sys.executable).parent
READY_SECONDS = 20
WORKERS = 2
STREAM = {"model": "m", "stream": True}


def command_line(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def lives(pid: int) -> bool:
    return bool(command_line(pid))


async def becomes(wanted: object, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is the one that is wanted."""
    found: object = None
    try:
        async with asyncio.timeout(READY_SECONDS):
            while (found := await ask()) != wanted:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not {wanted!r} within {READY_SECONDS} s but {found!r}")


async def until_refused(port: int) -> None:
    """Return when nobody listens any more."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.transport.abort()
            except ConnectionResetError:
                continue  # it was just closing
            except ConnectionRefusedError:
                return
            await asyncio.sleep(0.01)


@dataclass
class Several:
    """A running router with several workers."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def children(self, module: str = "") -> dict[int, str]:
        """Command lines of the child processes that run now, by pid."""
        pid = self.process.pid
        pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return {pid: line for pid in pids if module in (line := command_line(pid)) and line}

    def workers(self) -> list[int]:
        """Process ids of the workers, in the order of their numbers."""
        numbers = {int(re.search(r'"worker":(\d+)', line)[1]): p for p, line in self.children(worker.__name__).items()}
        return [numbers[number] for number in sorted(numbers)]

    def decider(self) -> int:
        (pid,) = self.children(decider.__name__)
        return pid

    async def admin(self, path: str) -> str:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}{path}") as answer:
            return await answer.text()

    async def in_flight(self) -> dict[str, int]:
        return {each["address"]: each["inFlight"] for each in json.loads(await self.admin("/admin/v1/endpoints"))}

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the series that have these labels."""
        found = 0.0
        for line in (await self.admin("/metrics")).splitlines():
            if line.startswith(f"fairlead_router_{name}{{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                found += float(line.rpartition(" ")[2])
        return found

    async def until_metric(self, name: str, value: float, **labels: str) -> None:
        await becomes(value, lambda: self.metric(name, **labels))

    async def until_stopping(self) -> None:
        await becomes(True, lambda: self._says("/ready", "shutting down"))

    async def _says(self, path: str, word: str) -> bool:
        return word in await self.admin(path)

    def post(self, body: dict = STREAM) -> "aiohttp.client._RequestContextManager":
        return self.session.post(self.url + "/v1/completions", json=body)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def status(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        yield session


@pytest.fixture
async def run():
    """Start routers; whatever still runs at the end is killed."""
    processes = []

    async def start(*args: object) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = map(str, (BIN / "fairlead-router", "--host", "127.0.0.1", *args))
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # returns when all its children have ended, too: they have the same pipes


@pytest.fixture
def several(run, session):
    async def start(*args: object, workers: int = WORKERS) -> Several:
        port, admin_port = free_port(), free_port()
        process = await run("--port", port, "--admin-port", admin_port, "--workers", workers, *args)
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        assert f"ready: http://127.0.0.1:{port} " in line.decode(), (await process.stderr.read()).decode()
        router = Several(process, port, admin_port, session)
        await router.until_metric("decider_connected", 1)
        return router

    return start


class Engines:
    """Engines whose streams go on until they are told to end, and that count what runs."""

    def __init__(self, start: Callable, kit: type) -> None:
        self._start = start
        self._kit = kit
        self.begin = asyncio.Event()
        """Set: streams get their first token."""
        self.begin.set()
        self.go_on = asyncio.Event()
        self.running: dict[str, int] = {}
        self.hold: Callable[[], float] | None = None
        """Draws how long a stream takes, instead."""
        self.moves = asyncio.Event()
        self.moves.set()

    async def start(self, count: int = 2) -> str:
        """Start engines; returns their addresses as --endpoints takes them."""
        for _ in range(count):
            await self._one()
        return ",".join(self.running)

    async def _one(self) -> None:
        async def script(connection):
            if scripted.requests[-1].line.startswith("GET"):
                await self._kit.answers(self._kit.whole(b""))(connection)
            else:
                await self._stream(connection, scripted.address)

        scripted = await self._start(script)
        self.running[scripted.address] = 0

    async def _stream(self, connection, address: str) -> None:
        self.running[address] += 1
        gone = asyncio.ensure_future(connection.reader.read(1))
        try:
            await self.begin.wait()
            await connection.send(self._kit.STREAM_HEAD + self._kit.chunk(self._kit.token("a")))
            ends = asyncio.ensure_future(self._may_end())
            await asyncio.wait([gone, ends], return_when=asyncio.FIRST_COMPLETED)
            ends.cancel()
        finally:
            self.running[address] -= 1
            gone.cancel()
            await asyncio.wait([gone])
        await connection.send(self._kit.chunk(self._kit.DONE) + self._kit.LAST_CHUNK)

    async def _may_end(self) -> None:
        if self.hold is None:
            await self.go_on.wait()
        else:
            await asyncio.sleep(self.hold())
            await self.moves.wait()


@pytest.fixture
def engines(engine, kit):
    return Engines(engine, kit)


async def agree(router: Several, engines: Engines) -> bool:
    return await router.in_flight() == engines.running


class Streams:
    """Streams that are open, and how each of them ended."""

    def __init__(self, router: Several, stack: contextlib.AsyncExitStack) -> None:
        self._router = router
        self._stack = stack
        self._reading: list[asyncio.Task[bool]] = []

    async def open(self, count: int) -> None:
        """Open streams, and read the first token of each."""
        answers = [await self._stack.enter_async_context(self._router.post()) for _ in range(count)]
        for answer in answers:
            begun = await answer.content.readany()
            self._reading.append(asyncio.create_task(self._whole(answer, begun)))

    async def _whole(self, answer: aiohttp.ClientResponse, begun: bytes) -> bool:
        try:
            return (begun + await answer.content.read()).endswith(b"data: [DONE]\n\n")
        except aiohttp.ClientError:
            return False

    @property
    def broken(self) -> int:
        return sum(task.done() and not task.result() for task in self._reading)

    async def finished(self) -> int:
        """How many of them came to their end."""
        async with asyncio.timeout(10):
            return sum(await asyncio.gather(*self._reading))


@pytest.fixture
async def streams():
    async with contextlib.AsyncExitStack() as stack:
        yield lambda router: Streams(router, stack)


async def test_all_workers_serve_one_port_and_are_counted_as_one(several, engines):
    router = await several("--endpoints", await engines.start())
    engines.go_on.set()
    for _ in range(30):
        async with router.post() as answer:
            assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
    assert await router.metric("requests_total", reason="completed") == 30
    assert await router.metric("ttft_seconds_count") == 30
    assert await router.metric("workers") == WORKERS
    assert sum((await router.in_flight()).values()) == 0


async def test_a_decision_is_explained_by_whichever_process_has_made_it(several, engines):
    router = await several("--endpoints", await engines.start(2))
    engines.go_on.set()
    async with router.post() as answer:
        await answer.content.read()
        request_id = answer.headers["x-request-id"].partition("@")[0]

    async def explained() -> bool:
        """Its end is told a little later than it was."""
        told = json.loads(await router.admin(f"/admin/v1/decisions?request={request_id}"))
        return bool(told) and told[0]["outcome"] is not None

    await becomes(True, explained)
    [told] = json.loads(await router.admin(f"/admin/v1/decisions?request={request_id}"))
    assert (told["verdict"], told["endpoint"], len(told["candidates"])) == (
        "run",
        answer.headers["x-fairlead-endpoint"],
        2,
    )
    assert told["outcome"]["reason"] == "completed"
    assert told["outcome"]["ttftSeconds"] > 0


async def test_requests_are_spread_by_the_load_of_all_workers(several, engines, streams):
    router = await several("--endpoints", await engines.start(4))
    await streams(router).open(16)
    assert list(engines.running.values()) == [4] * 4
    assert await router.in_flight() == engines.running


async def test_shared_counts_agree_with_the_engines_whenever_a_load_is_held_still(several, engines):
    random = Random(0)
    engines.hold = lambda: random.uniform(0.0, 0.1)
    router = await several("--endpoints", await engines.start(3))
    loading = True

    async def load() -> None:
        while loading:
            await engines.moves.wait()
            async with router.post() as answer:
                await answer.content.read()

    clients = [asyncio.create_task(load()) for _ in range(12)]
    for _ in range(12):
        await asyncio.sleep(random.uniform(0.05, 0.3))
        engines.moves.clear()
        await becomes(True, lambda: agree(router, engines))
        engines.moves.set()
    loading = False
    await asyncio.gather(*clients)
    await becomes(dict.fromkeys(engines.running, 0), router.in_flight)


async def test_a_killed_worker_loses_its_own_streams_and_no_others(several, engines, streams, kit):
    router = await several("--endpoints", await engines.start())
    opened = streams(router)
    await opened.open(14)
    killed = router.workers()[0]
    os.kill(killed, signal.SIGKILL)
    await router.until_metric("process_deaths_total", 1, process="worker")
    lost = opened.broken
    assert 0 < lost < 14
    await kit.until(lambda: sum(engines.running.values()) == 14 - lost, "its engines are free again")
    assert await router.in_flight() == engines.running
    engines.go_on.set()
    assert await opened.finished() == 14 - lost


async def test_a_killed_worker_is_replaced_and_what_it_had_counted_stays(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    engines.go_on.set()
    opened = streams(router)
    await opened.open(20)
    assert await opened.finished() == 20
    before = router.workers()
    await router.until_metric("requests_total", 20, reason="completed")
    os.kill(before[1], signal.SIGKILL)
    await router.until_metric("process_deaths_total", 1, process="worker")
    await router.until_metric("workers", WORKERS)
    after = router.workers()
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)
    assert await router.metric("requests_total", reason="completed") == 20
    more = streams(router)
    await more.open(12)
    assert await more.finished() == 12
    await router.until_metric("requests_total", 32, reason="completed")


async def test_a_killed_decider_loses_no_stream_and_workers_go_on_by_themselves(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    opened = streams(router)
    await opened.open(8)
    os.kill(router.decider(), signal.SIGKILL)
    await opened.open(8)
    assert await router.in_flight() == engines.running
    await router.until_metric("process_deaths_total", 1, process="decider")
    engines.go_on.set()
    assert await opened.finished() == 16


async def test_a_decider_that_was_replaced_knows_what_runs(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    opened = streams(router)
    await opened.open(7)
    os.kill(router.decider(), signal.SIGKILL)
    await router.until_metric("process_deaths_total", 1, process="decider")
    await router.until_metric("decider_connected", 1)
    await opened.open(7)
    assert list(engines.running.values()) == [7, 7]


async def test_a_stopped_decider_is_missed_and_holds_nobody_up(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    pid = router.decider()
    os.kill(pid, signal.SIGSTOP)
    try:
        opened = streams(router)
        await opened.open(6)
        await router.until_metric("decider_connected", 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    await router.until_metric("decider_connected", 1)
    engines.go_on.set()
    assert await opened.finished() == 6


async def test_when_the_supervisor_is_killed_its_workers_finish_what_runs_and_end(several, engines, streams, kit):
    router = await several("--endpoints", await engines.start())
    children = list(router.children())
    opened = streams(router)
    await opened.open(8)
    router.stop(signal.SIGKILL)
    await kit.until(lambda: sum(map(lives, children)) == WORKERS, "the decider has ended, the workers have not")
    engines.go_on.set()
    assert await opened.finished() == 8
    await kit.until(lambda: not any(map(lives, children)), "nothing is left behind")


async def test_sigterm_lets_the_streams_of_all_workers_finish_and_leaves_nothing_behind(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    children = list(router.children())
    opened = streams(router)
    await opened.open(8)
    router.stop()
    await router.until_stopping()
    await until_refused(router.port)
    assert await router.in_flight() == engines.running
    engines.go_on.set()
    assert await opened.finished() == 8
    assert await router.status() == 0
    assert not any(map(lives, children))


async def test_streams_that_outlast_the_shutdown_timeout_end_in_all_workers(several, engines, streams):
    router = await several("--endpoints", await engines.start(), "--shutdown-timeout", 0.2)
    opened = streams(router)
    await opened.open(8)
    router.stop()
    assert await opened.finished() == 0
    assert await router.status() == 0


async def test_a_second_signal_ends_what_still_runs(several, engines, streams, kit):
    router = await several("--endpoints", await engines.start())
    opened = streams(router)
    await opened.open(4)
    router.stop()
    await router.until_stopping()
    router.stop()
    assert await opened.finished() == 0
    assert await router.status() == 0


async def test_a_worker_that_is_told_to_stop_drains_and_is_replaced(several, engines, streams):
    router = await several("--endpoints", await engines.start())
    opened = streams(router)
    await opened.open(10)
    os.kill(router.workers()[0], signal.SIGTERM)
    engines.go_on.set()
    assert await opened.finished() == 10
    await router.until_metric("process_deaths_total", 1, process="worker")
    await router.until_metric("workers", WORKERS)


WAITERS = 24
"""Enough that each of two workers has several, whichever they connect to."""


def long(number: int) -> dict[str, object]:
    """More than a batch of an engine whose limits nobody knows: it gets one, and the next when the first is computed.

    No two begin alike: of one that has been there before an engine would have less to compute.
    """
    return {"model": "m", "stream": True, "prompt": f"{number} " * 5000}


class Waiters:
    """Requests of which an engine has room for one at a time."""

    def __init__(self, router: Several) -> None:
        self._asking = [asyncio.create_task(self._ask(router, long(number))) for number in range(WAITERS)]

    async def _ask(self, router: Several, body: dict) -> int:
        async with contextlib.AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(router.post(body))
                return answer.status if (await answer.content.read()).endswith(b"data: [DONE]\n\n") else 0
            except aiohttp.ClientError:
                return 0

    async def statuses(self) -> list[int]:
        async with asyncio.timeout(20):
            return await asyncio.gather(*self._asking)


@pytest.fixture
async def waiters(several, engines):
    """A router and an engine that computes one prompt for ever, and requests that wait behind it, in both workers."""
    engines.begin.clear()
    engines.go_on.set()
    router = await several("--endpoints", await engines.start(1))
    await router.until_metric("workers", 2)
    asking = Waiters(router)
    await router.until_metric("queue_depth", WAITERS - 1)
    return router, asking


async def test_what_waits_in_one_worker_gets_the_room_that_another_s_request_leaves(waiters, engines, kit):
    router, asking = waiters
    await kit.until(lambda: list(engines.running.values()) == [1], "the engine has one of them")
    engines.begin.set()
    assert await asking.statuses() == [200] * WAITERS
    assert await router.metric("queue_depth") == 0
    assert await router.metric("queue_wait_seconds_count") == WAITERS


async def test_a_place_is_taken_back_whichever_worker_has_it(several, engine, kit, tmp_path):
    """The engine computes the long prompt for ever, until its client is gone; then it answers whatever comes."""
    served = []

    async def script(connection):
        request = scripted.requests[-1]
        if request.line.startswith("GET"):
            await kit.answers(kit.whole(b""))(connection)
            return
        served.append(request.headers["x-request-id"])
        if len(served) == 1:
            await connection.hang()
        else:
            await kit.streams(kit.token(), kit.DONE)(connection)

    scripted = await engine(script)
    path = tmp_path / "router.yaml"
    classes = [{"name": "batch", "default": True}, {"name": "urgent", "priority": 1, "ttft": "2s"}]
    endpoints = [{"uid": "a", "address": scripted.address}]
    path.write_text(json.dumps({"classes": classes, "endpoints": endpoints, "engine": {"maxNumSeqs": 1}}))
    router = await several("--config", path)

    async def ask(name: str) -> bytes:
        headers = {"x-request-id": name, "x-slo-class": name.partition("-")[0]}
        async with router.session.post(router.url + "/v1/completions", json=STREAM, headers=headers) as answer:
            assert answer.status == 200
            return await answer.read()

    long = asyncio.create_task(ask("batch-0"))
    await kit.until(lambda: served == ["batch-0"], "the long prompt is at the engine")
    urgent = [asyncio.create_task(ask(f"urgent-{number}")) for number in range(4)]  # some of them in the other worker
    answers = await asyncio.gather(*urgent, long)
    assert all(answer.count(b"[DONE]") == 1 for answer in answers)
    assert sorted(served) == ["batch-0", "batch-0", *(f"urgent-{number}" for number in range(4))]
    assert served[-1] == "batch-0"
    await router.until_metric("taken_back_total", 1, **{"class": "batch"})
    await router.until_metric("in_flight", 0)


async def test_a_killed_worker_takes_what_waits_in_it_out_of_the_queue_and_nothing_else(waiters, engines):
    router, asking = waiters
    os.kill(router.workers()[0], signal.SIGKILL)
    await router.until_metric("process_deaths_total", 1, process="worker")
    left = int(await router.metric("queue_depth"))
    engines.begin.set()
    served = (await asking.statuses()).count(200)
    assert 0 < left <= served < WAITERS


async def test_a_killed_decider_loses_nothing_that_waits(waiters, engines, kit):
    router, asking = waiters
    os.kill(router.decider(), signal.SIGKILL)
    await kit.until(lambda: list(engines.running.values()) == [WAITERS], "the workers have placed what waited")
    engines.begin.set()
    assert await asking.statuses() == [200] * WAITERS


async def test_at_sigterm_what_waits_is_served_as_what_runs(waiters, engines):
    router, asking = waiters
    router.stop()
    await router.until_stopping()
    engines.begin.set()
    assert await asking.statuses() == [200] * WAITERS
    assert await router.status() == 0


async def test_workers_follow_the_configuration_and_the_endpoints(several, engines, tmp_path, streams):
    first, second = (await engines.start(2)).split(",")
    path = tmp_path / "router.yaml"

    def write(**config: object) -> None:
        path.write_text(RouterConfig(**config).to_yaml())

    def endpoint(address: str, **how: object) -> StaticEndpoint:
        return StaticEndpoint(uid=address, address=address, **how)

    write(endpoints=[endpoint(first)])
    router = await several("--config", path)
    await streams(router).open(3)
    assert engines.running == {first: 3, second: 0}
    write(models=["only"], endpoints=[endpoint(first, draining=True), endpoint(second)])
    async with asyncio.timeout(10):
        while True:
            async with router.post() as refused:
                if refused.status == 404:
                    break
    await router.until_metric("endpoint_state", 1, endpoint=second, state="ready")
    async with router.post({"model": "only", "stream": True}) as answer:
        await answer.content.readany()
        assert engines.running == {first: 3, second: 1}
        assert await router.in_flight() == engines.running


async def test_a_port_is_not_shared_with_another_router(several, engines, run):
    addresses = await engines.start(1)
    router = await several("--endpoints", addresses)
    other = await run("--port", router.port, "--admin-port", free_port(), "--workers", 2, "--endpoints", addresses)
    _, errors = await other.communicate()
    assert other.returncode == 2
    assert f"port {router.port} is taken" in errors.decode()


async def test_a_router_whose_workers_cannot_start_ends_and_says_so(monkeypatch):
    monkeypatch.setattr(worker, "__name__", "no_module_of_this_name")
    supervisor = Supervisor(RouterConfig(), Serving("127.0.0.1", free_port(), WORKERS, 0.0, "error"))
    supervisor.router.apply(RouterConfig())
    async with asyncio.timeout(READY_SECONDS):
        await supervisor.run(asyncio.Event())
    assert re.fullmatch(r"worker [01] ended before it was ready; its log says why", supervisor.failure)
