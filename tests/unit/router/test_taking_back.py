"""A place is taken back for a more urgent request: the engine aborts what it has not begun to answer, and it runs later."""

import asyncio
import contextlib

import pytest
from click.testing import CliRunner
from one_engine import OneEngine

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.console.explain import explain
from fairlead_router.contract import BreakerState, EndpointState, Reason
from fairlead_router.decisions.journal import Question
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.types import EndpointView

CLASSES = (
    ServiceClass(name="batch", default=True),
    ServiceClass(name="urgent", priority=10, ttft="200ms"),
)


class Pool(OneEngine):
    """An engine with room for one, which answers a request as its name says."""

    def __init__(self, running, kit: type, scripts: dict[str, list]) -> None:
        super().__init__(running)
        self.kit = kit
        self.scripts = scripts

    async def script(self, connection) -> None:
        name = self.engine.requests[-1].headers["x-request-id"]
        await self.scripts[name].pop(0)(connection)

    def ask(self, name: str, **how: object) -> "asyncio.Task[tuple[int, bytes, dict[str, str]]]":
        return self.send(name, {"x-slo-class": "urgent" if name == "urgent" else "batch"}, **how)

    async def runs(self, name: str, **how: object) -> "asyncio.Task[tuple[int, bytes, dict[str, str]]]":
        task = self.ask(name, **how)
        await self.kit.until(lambda: self.served[-1:] == [name], f"{name} is at the engine")
        return task

    @property
    def taken_back(self) -> float | None:
        return self.running.sample("fairlead_router_taken_back_total", class_="batch")


@pytest.fixture
async def pool(router, engine, kit):
    """Start a pool whose engine has these scripts for a request, by its name."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**scripts: list) -> Pool:
            made = Pool(await router(config=RouterConfig(classes=CLASSES)), kit, scripts)
            made.engine = await engine(made.script)
            address, limits = made.engine.address, EngineLimits(max_num_seqs=1)
            made.running.router.set_endpoints(
                [EndpointView(address, address, EndpointState.READY, "engine-0", limits=limits)]
            )
            stack.push_async_callback(made.close)
            return made

        yield start


@pytest.fixture
def whole(kit):
    return kit.streams(kit.token("whole"), kit.DONE)


@pytest.mark.parametrize("heads", [0, 1])
async def test_a_long_prompt_makes_room_for_an_urgent_request_and_is_computed_afterwards(pool, kit, whole, heads):
    """Also where the engine has sent the head of its answer, as vLLM does before it has computed anything."""
    computes_for_ever = kit.answers_then_hangs(*[kit.STREAM_HEAD] * heads)
    started = await pool(long=[computes_for_ever, whole], urgent=[whole])
    long = await started.runs("long", body={"model": "m", "stream": True, "prompt": "x" * 5000})
    urgent = started.ask("urgent")
    assert (await urgent)[0] == 200
    status, body, headers = await long
    assert (status, headers["x-fairlead-reason"]) == (200, "placed")
    assert body.count(b"whole") == 1
    assert body.endswith(b"data: [DONE]\n\n")
    assert started.served == ["long", "urgent", "long"]
    assert started.engine.requests[0].body == started.engine.requests[2].body
    assert started.engine.hung_up == 1
    assert started.taken_back == 1


async def test_it_is_counted_once_and_is_neither_a_retry_nor_a_failure(pool, kit, whole):
    started = await pool(long=[kit.answers_then_hangs(), whole], urgent=[whole])
    long = await started.runs("long")
    budget = started.running.router.retries
    await started.ask("urgent")
    await long
    running = started.running
    assert running.sample("fairlead_router_offered_requests_total", class_="batch") == 1
    assert running.ended("completed", class_="batch") == running.ended("completed", class_="urgent") == 1
    assert running.ended("taken_back", class_="batch") == 0
    assert running.sample("fairlead_router_good_requests_total", class_="batch") == 1
    assert running.sample("fairlead_router_retries_total", reason="connection_closed") is None
    assert budget.exhausted == 0
    (endpoint,) = running.router.endpoints()
    assert (endpoint.breaker, endpoint.in_flight) == (BreakerState.CLOSED, 0)
    assert running.relay.buffered_bytes == 0


async def test_every_decision_of_it_is_explained(pool, kit, whole):
    started = await pool(long=[kit.answers_then_hangs(), whole], urgent=[whole])
    long = await started.runs("long")
    await started.ask("urgent")
    await long
    again, first = await started.running.router.decisions(Question("long"))
    assert (first["outcome"]["reason"], first["recalledFor"]) == (Reason.TAKEN_BACK, "urgent")
    assert (again["outcome"]["reason"], again["recalledFor"]) == (Reason.COMPLETED, None)
    assert again["waitedSeconds"] > 0
    arguments = ("long", "--admin", started.running.admin_url)
    told = await asyncio.to_thread(CliRunner().invoke, explain, arguments, env={"COLUMNS": "160"})
    assert "taken back" in told.output
    assert "for urgent, which was more urgent; it waits again" in told.output
    assert "completed, good" in told.output


async def test_an_engine_that_has_begun_to_answer_goes_on(pool, kit, whole):
    """With an event that carries no token, so that nothing but the relay knows of it."""
    begun = asyncio.Event()

    async def begins(connection) -> None:
        role = kit.event(choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}])
        await connection.send(kit.STREAM_HEAD + kit.chunk(role))
        await begun.wait()
        await connection.send(kit.chunk(kit.token()) + kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    started = await pool(long=[begins], urgent=[whole])
    long = await started.runs("long")
    await kit.until(lambda: any(each.response.started for each in started.running.relay.running), "it has begun")
    status, _, _ = await started.ask("urgent")
    assert status == 429
    begun.set()
    assert (await long)[0] == 200
    assert started.served == ["long"]
    assert started.taken_back is None


async def test_a_client_may_hang_up_while_its_request_waits_again(pool, kit, whole):
    holds = asyncio.Event()

    async def later(connection) -> None:
        await holds.wait()
        await whole(connection)

    started = await pool(long=[kit.answers_then_hangs()], urgent=[later])
    long = await started.runs("long")
    urgent = started.ask("urgent")
    await kit.until(lambda: started.served == ["long", "urgent"], "the urgent one has the place")
    long.cancel()
    await kit.until(lambda: started.running.ended("client_disconnected", class_="batch") == 1, "it is gone")
    holds.set()
    assert (await urgent)[0] == 200
    assert started.running.in_flight == 0
    assert started.running.relay.buffered_bytes == 0


async def test_a_connection_that_is_being_opened_is_given_up(pool, kit, whole, monkeypatch):
    started = await pool(long=[whole], urgent=[whole])
    relay = started.running.relay
    connect, forgotten = relay.pool.connect, []

    class Never:
        def forget(self) -> None:
            forgotten.append(self)

    monkeypatch.setattr(relay.pool, "connect", lambda *_: Never())
    long = started.ask("long")
    await kit.until(lambda: relay.running, "it is being connected")
    urgent = started.ask("urgent")
    await kit.until(lambda: len(relay.running) == 2, "the urgent one waits")
    monkeypatch.setattr(relay.pool, "connect", connect)
    assert (await urgent)[0] == (await long)[0] == 200
    assert len(forgotten) == 1
    assert started.served == ["urgent", "long"]


async def test_an_upload_that_is_passed_on_as_it_comes_keeps_its_place(pool, kit, whole):
    started = await pool(upload=[kit.answers_then_hangs()], urgent=[whole])
    await started.runs("upload", path="/v1/audio/transcriptions", body=b"recording")
    status, _, _ = await started.ask("urgent")
    assert status == 429
    assert started.served == ["upload"]
