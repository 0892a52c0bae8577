"""Requests that wait in the router until an engine has room: who gets it, who gives up, and who is refused."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from zlib import crc32

import pytest
from one_engine import OneEngine

from fairlead_router.config import Queue, RouterConfig, ServiceClass, Timeouts
from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.types import EndpointView
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, hash_of

ONE_AT_A_TIME = EngineLimits(max_num_seqs=1)


class Busy(OneEngine):
    """A pool with one engine, whose streams begin at once and end when they are told to; it has room for one."""

    def __init__(self, running, scripted, kit: type) -> None:
        super().__init__(running)
        self.engine = scripted
        self._kit = kit
        self.ends: list[asyncio.Event] = []

    async def script(self, connection) -> None:
        end = asyncio.Event()
        self.ends.append(end)
        await connection.send(self._kit.STREAM_HEAD + self._kit.chunk(self._kit.token()))
        await end.wait()
        await connection.send(self._kit.chunk(self._kit.DONE) + self._kit.LAST_CHUNK)

    def show(self, *addresses: str) -> None:
        """Let these be the ready endpoints; by default the one engine."""
        self.running.router.set_endpoints(
            EndpointView(uid=each, address=each, state=EndpointState.READY, name=each, limits=ONE_AT_A_TIME)
            for each in addresses or (self.engine.address,)
        )

    def ask(
        self, name: str = "", *, body: object = None, **headers: str
    ) -> "asyncio.Task[tuple[int, bytes, dict[str, str]]]":
        return self.send(name, {key.replace("_", "-"): value for key, value in headers.items()}, body=body)

    async def asks_first(self) -> "asyncio.Task[tuple[int, bytes, dict[str, str]]]":
        """Take the engine's only place."""
        first = self.ask("first")
        await self._kit.until(lambda: len(self.ends) == 1, "the first request runs")
        return first

    async def waits(self, name: str = "", **headers: str) -> "asyncio.Task[tuple[int, bytes, dict[str, str]]]":
        """Let one more request wait."""
        depth = self.depth()
        task = self.ask(name, **headers)
        await self._kit.until(lambda: self.depth() == depth + 1, f"{name} waits")
        return task

    def depth(self) -> float:
        samples = (s for family in self.running.router.telemetry.registry.collect() for s in family.samples)
        return sum(sample.value for sample in samples if sample.name == "fairlead_router_queue_depth")

    async def ends_all(self) -> None:
        """End every stream as soon as it has begun, until nothing runs."""
        while not self.running.relay.idle.is_set():
            for end in self.ends:
                end.set()
            await asyncio.sleep(0)


@pytest.fixture
async def busy(router, engine, kit):
    """Start a pool whose engine is busy."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(config: RouterConfig | None = None) -> Busy:
            running = await router(config=config)
            made = Busy(running, None, kit)
            made.engine = await engine(made.script)
            made.show()
            stack.push_async_callback(made.close)
            return made

        yield start


Start = Callable[..., Awaitable[Busy]]


def code_of(body: bytes) -> str:
    return json.loads(body)["error"]["code"]


async def test_a_request_waits_until_the_engine_has_room(busy: Start):
    pool = await busy()
    first = await pool.asks_first()
    second = await pool.waits("second")
    assert pool.served == ["first"]
    pool.ends[0].set()
    assert (await first)[0] == 200
    await pool.ends_all()
    status, body, headers = await second
    assert (status, headers["x-fairlead-reason"]) == (200, "placed")
    assert body.endswith(b"data: [DONE]\n\n")
    assert pool.running.in_flight == 0


async def test_a_first_token_makes_room_as_an_end_does(busy: Start, kit):
    """An engine of unknown limits gets no more prompts than fit its next batch; the first token says that one is computed."""
    pool = await busy()
    pool.running.show([pool.engine])  # with the limits that are usual
    body = {"model": "mock", "stream": True, "prompt": "x" * 10_000}
    begins = asyncio.Event()

    async def script(connection) -> None:
        await begins.wait()
        await pool.script(connection)

    pool.engine.script = script
    tasks = [pool.ask(body=body) for _ in range(3)]
    await kit.until(lambda: pool.depth() == 2 and len(pool.engine.requests) == 1, "one is computed, and two wait")
    begins.set()
    await kit.until(lambda: len(pool.ends) == 3, "all of them run at the same time")
    await pool.ends_all()
    assert [status for status, _, _ in await asyncio.gather(*tasks)] == [200] * 3


async def test_a_new_engine_takes_what_waits(busy: Start, engine, kit):
    pool = await busy()
    await pool.asks_first()
    second = await pool.waits("second")
    other = await engine(kit.streams(kit.token(), kit.DONE))
    pool.show(pool.engine.address, other.address)
    status, _, headers = await second
    assert (status, headers["x-fairlead-endpoint"]) == (200, other.address)


async def test_a_client_that_hangs_up_leaves_the_queue(busy: Start, kit):
    pool = await busy(RouterConfig(queue=Queue(max_requests=2)))
    await pool.asks_first()
    gone = await pool.waits("gone")
    stays = await pool.waits("stays")
    gone.cancel()
    await kit.until(lambda: pool.depth() == 1, "its place in the queue is free")
    assert pool.running.ended("client_disconnected", verdict="reject") == 1
    await pool.waits("another")
    await pool.ends_all()
    assert (await stays)[0] == 200
    assert pool.served == ["first", "stays", "another"]


async def test_a_full_queue_refuses_and_says_when_to_come_back(busy: Start):
    pool = await busy(RouterConfig(queue=Queue(max_requests=1)))
    await pool.asks_first()
    await pool.waits("second")
    status, body, headers = await pool.ask("third")
    assert (status, code_of(body)) == (429, "queue_full")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert int(headers["retry-after"]) >= 1
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
    assert pool.running.ended("queue_full", verdict="reject") == 1


async def test_bodies_have_fingerprints_only_while_somebody_may_come_back(busy: Start, kit):
    """By which the one that does is known."""

    def fingerprints() -> set[int]:
        return {each.request.fingerprint for each in pool.running.relay.running}

    pool = await busy(RouterConfig(queue=Queue(max_requests=1)))
    await pool.asks_first()
    second = await pool.waits("second")
    assert fingerprints() == {0}
    assert (await pool.ask("third"))[0] == 429
    second.cancel()
    await kit.until(lambda: pool.depth() == 0, "its place in the queue is free")
    await pool.waits("fourth")
    assert fingerprints() == {0, crc32(json.dumps({"model": "mock", "stream": True}).encode())}


async def test_the_queue_is_bounded_in_bytes_too(busy: Start):
    pool = await busy(RouterConfig(queue=Queue(max_bytes=10)))
    await pool.asks_first()
    await pool.waits("second")  # the last one may go beyond
    status, body, _ = await pool.ask("third")
    assert (status, code_of(body)) == (429, "queue_full")


async def test_a_request_waits_no_longer_than_it_asks_for_itself(busy: Start):
    pool = await busy()
    await pool.asks_first()
    status, body, headers = await pool.ask("second", x_llm_d_inference_ttl="30ms")
    assert (status, code_of(body)) == (429, "queue_timeout")
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-ttl-expired"


async def test_no_request_waits_longer_for_asking_for_it(busy: Start):
    pool = await busy(RouterConfig(queue=Queue(max_wait="30ms")))
    await pool.asks_first()
    assert (await pool.ask("second", x_llm_d_inference_ttl="1h"))[0] == 429


async def test_nobody_waits_longer_than_the_queue_allows(busy: Start):
    pool = await busy(RouterConfig(queue=Queue(max_wait="30ms")))
    await pool.asks_first()
    status, body, headers = await pool.ask("second")
    assert (status, code_of(body)) == (429, "queue_timeout")
    assert int(headers["retry-after"]) >= 1
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-ttl-expired"
    assert pool.depth() == 0


async def test_a_request_whose_limit_cannot_be_met_is_refused_at_once(busy: Start):
    pool = await busy(RouterConfig(classes=(ServiceClass(name="default", ttft="1ms"),)))
    await pool.asks_first()
    status, body, headers = await pool.ask("second")
    assert (status, code_of(body)) == (429, "slo_unreachable")
    assert int(headers["retry-after"]) >= 1
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"


async def test_a_request_whose_limit_passes_while_it_waits_is_refused_then(busy: Start):
    pool = await busy(RouterConfig(classes=(ServiceClass(name="default", ttft="80ms"),)))
    await pool.asks_first()
    status, body, _ = await pool.ask("second")
    assert (status, code_of(body)) == (429, "slo_unreachable")


async def test_a_class_that_queues_waits_past_its_limit(busy: Start):
    lenient = ServiceClass(name="default", ttft="1ms", on_unreachable="queue")
    pool = await busy(RouterConfig(classes=(lenient,)))
    await pool.asks_first()
    second = await pool.waits("second")
    await pool.ends_all()
    assert (await second)[0] == 200


CLASSES = (ServiceClass(name="batch", default=True), ServiceClass(name="interactive", priority=10))


async def test_the_class_of_higher_priority_gets_room_first(busy: Start):
    pool = await busy(RouterConfig(classes=CLASSES))
    await pool.asks_first()
    await pool.waits("batch")
    await pool.waits("interactive", x_slo_class="interactive")
    await pool.ends_all()
    assert pool.served == ["first", "interactive", "batch"]


async def test_tenants_get_room_in_turn(busy: Start, kit):
    pool = await busy()
    keys = [f"{{name: {each}, tenant: {each}, hash: '{hash_of(each.encode())}'}}" for each in ("flood", "other")]
    pool.running.router.gate = Gate(KeyRing.from_yaml(f"keys: [{', '.join(keys)}]"))
    pool.ask("first", authorization="Bearer other")
    await kit.until(lambda: len(pool.ends) == 1, "the first request runs")
    await pool.waits("flood-1", authorization="Bearer flood")
    await pool.waits("flood-2", authorization="Bearer flood")
    await pool.waits("other-1", authorization="Bearer other")
    await pool.ends_all()
    assert pool.served.index("other-1") < pool.served.index("flood-2")


async def test_a_class_that_is_not_declared_any_more_is_served_to_its_end(busy: Start):
    pool = await busy(RouterConfig(classes=CLASSES))
    await pool.asks_first()
    second = await pool.waits("second", x_slo_class="interactive")
    pool.running.router.apply(RouterConfig(classes=(ServiceClass(name="other"),)))
    assert pool.running.sample("fairlead_router_queue_depth", class_="interactive") == 1
    await pool.ends_all()
    assert (await second)[0] == 200
    assert pool.running.sample("fairlead_router_queue_depth", class_="interactive") is None


async def test_a_configuration_that_shortens_the_wait_holds_for_those_that_wait(busy: Start):
    pool = await busy()
    await pool.asks_first()
    second = await pool.waits("second")
    pool.running.router.apply(RouterConfig(queue=Queue(max_wait="1ms")))
    assert code_of((await second)[1]) == "queue_timeout"


async def test_total_runs_on_while_a_request_waits(busy: Start):
    pool = await busy()
    await pool.asks_first()
    pool.running.router.apply(RouterConfig(timeouts=Timeouts(total="50ms")))
    status, body, _ = await pool.ask("second")
    assert (status, code_of(body)) == (504, "total_timeout")
    assert pool.depth() == 0


async def test_the_engine_s_time_for_a_first_byte_does_not_run_while_a_request_waits(busy: Start, kit):
    pool = await busy(RouterConfig(timeouts=Timeouts(first_byte="1s", total="30m")))
    await pool.asks_first()
    pool.show(pool.engine.address, "127.0.0.1:1")  # nobody listens at the other
    await pool.waits("second")
    (waiting,) = [each for each in pool.running.relay.running if each.request.request_id == "second"]
    assert waiting.attempts.retries == 1
    assert waiting.deadline > asyncio.get_running_loop().time() + 60


async def test_a_request_that_was_sent_to_an_engine_that_failed_and_finds_no_other_in_time_is_told_so(busy: Start):
    pool = await busy(RouterConfig(classes=(ServiceClass(name="default", ttft="1ms"),)))
    await pool.asks_first()
    pool.show(pool.engine.address, "127.0.0.1:1")
    status, body, _ = await pool.ask("second")
    assert (status, code_of(body)) == (429, "slo_unreachable")
    assert pool.running.ended("slo_unreachable", verdict="run") == 1


async def test_what_waits_when_the_router_stops_is_served_like_what_runs(busy: Start):
    pool = await busy()
    await pool.asks_first()
    second = await pool.waits("second")
    pool.running.router.shutting_down = True
    await pool.ends_all()
    assert (await second)[0] == 200


async def test_what_still_waits_when_the_router_stops_waiting_is_told_so(busy: Start):
    pool = await busy()
    await pool.asks_first()
    second = await pool.waits("second")
    pool.running.relay.interrupt_all()
    status, body, _ = await second
    assert (status, code_of(body)) == (503, "shutting_down")
    assert pool.depth() == 0


async def test_requests_of_one_name_wait_like_any_others(busy: Start):
    pool = await busy()
    await pool.asks_first()
    one, other = await pool.waits("same"), await pool.waits("same")
    one.cancel()
    await pool.ends_all()
    assert (await other)[0] == 200


async def test_the_wait_is_observed_of_every_placed_request_and_is_nothing_for_most(busy: Start):
    pool = await busy(RouterConfig(models=("mock",)))
    await pool.asks_first()
    wait = "fairlead_router_queue_wait_seconds"
    labels = {"class_": "default", "model": "mock"}
    assert pool.running.sample(f"{wait}_count", **labels) == 1
    assert pool.running.sample(f"{wait}_sum", **labels) == 0
    await pool.waits("second")
    await pool.ends_all()
    assert pool.running.sample(f"{wait}_count", **labels) == 2
    assert pool.running.sample(f"{wait}_sum", **labels) > 0


async def test_a_class_in_which_nobody_waits_has_a_depth_of_zero(busy: Start):
    pool = await busy(RouterConfig(classes=CLASSES))
    for each in CLASSES:
        assert pool.running.sample("fairlead_router_queue_depth", class_=each.name) == 0


async def test_a_waiting_request_that_nobody_is_left_for_is_told_so(busy: Start):
    pool = await busy(RouterConfig(queue=Queue(max_wait="500ms")))
    await pool.asks_first()
    second = await pool.waits("second")
    pool.running.router.set_endpoints([])
    status, body, headers = await second
    assert (status, code_of(body)) == (503, Reason.NO_ENDPOINT)
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
