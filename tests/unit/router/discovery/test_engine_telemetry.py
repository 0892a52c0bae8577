"""Looking at engines: with real sockets."""

import asyncio

import pytest

from fairlead_router.contract import EndpointState
from fairlead_router.deadlines import Deadlines
from fairlead_router.decisions.types import EndpointView
from fairlead_router.discovery.engine_telemetry import EngineTelemetry
from fairlead_router.upstream.pool import Pool

METRICS = b'vllm:num_requests_running 2\nvllm:cache_config_info{block_size="16",num_gpu_blocks="10"} 1\n'


@pytest.fixture
async def pool():
    made = Pool(asyncio.get_running_loop(), Deadlines())
    yield made
    await made.aclose()


def view(engine, uid: str = "a", state: EndpointState = EndpointState.READY) -> EndpointView:
    return EndpointView(uid, engine.address, state, uid)


async def test_engines_that_say_something_are_told_by_uid(engine, kit, pool):
    talking, silent = await engine(kit.answers(kit.whole(METRICS))), await engine(kit.answers(kit.whole(b"x 1\n")))
    reports = await EngineTelemetry(pool).look([view(talking, "a"), view(silent, "b")])
    assert {uid: (report.running, report.kv_tokens) for uid, report in reports.items()} == {"a": (2, 160)}


async def test_an_engine_that_is_gone_is_not_asked(engine, kit, pool):
    gone = await engine(kit.answers(kit.whole(METRICS)))
    assert await EngineTelemetry(pool).look([view(gone, state=EndpointState.GONE)]) == {}
    assert gone.requests == []


async def test_an_engine_with_its_metrics_elsewhere_is_found_once(engine, kit, pool):
    async def script(connection):
        elsewhere = trtllm.requests[-1].line.startswith("GET /prometheus/metrics ")
        await connection.send(kit.whole(b"trtllm_num_requests_running 1\n" if elsewhere else b"{}"))

    trtllm = await engine(script)
    telemetry = EngineTelemetry(pool)
    for _ in range(2):
        assert (await telemetry.look([view(trtllm)]))["a"].running == 1
    paths = [request.line.split()[1] for request in trtllm.requests]
    assert paths == ["/metrics", "/prometheus/metrics", "/prometheus/metrics"]


async def test_an_engine_that_says_nothing_is_left_alone_for_a_while(engine, kit, pool):
    silent = await engine(kit.answers(kit.whole(b"", "404 Not Found")))
    telemetry = EngineTelemetry(pool)
    for _ in range(20):
        assert await telemetry.look([view(silent)]) == {}
    assert len(silent.requests) == 2, "once by each of the two paths"


async def test_an_engine_that_hangs_does_not_keep_the_others_from_being_heard(engine, kit, pool, monkeypatch):
    monkeypatch.setattr("fairlead_router.discovery.engine_telemetry.ANSWER_SECONDS", 0.05)
    hanging, talking = await engine(kit.answers_then_hangs()), await engine(kit.answers(kit.whole(METRICS)))
    reports = await EngineTelemetry(pool).look([view(hanging, "a"), view(talking, "b")])
    assert reports.keys() == {"b"}
