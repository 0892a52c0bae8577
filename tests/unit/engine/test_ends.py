"""How requests end other than by being complete: the client hangs up, or the engine stops."""

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead_engine.batch_time import Linear
from fairlead_engine.batching import Limits
from fairlead_engine.mock.settings import Settings

CHAT = "/v1/chat/completions"
SLOW = Linear(base_seconds=0.02, token_seconds=0.0)
ENDLESS = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4000, "ignore_eos": True}


async def metric(mock: Any, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(await mock.get_text("/metrics"))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def read_to_the_end(response: aiohttp.ClientResponse, received: list[bytes]) -> None:
    while data := await response.content.readany():
        received.append(data)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_aborts_its_request_and_frees_its_memory(start_mock: Any, stream: bool) -> None:
    mock = start_mock(Settings(batch_time=SLOW))
    body = ENDLESS | {"n": 2}
    asking = asyncio.create_task(mock.stream(CHAT, **body) if stream else mock.post(CHAT, body))
    await mock.until(running=2)
    assert await metric(mock, "vllm:kv_cache_usage_perc") > 0
    asking.cancel()
    await mock.until(running=0, aborted=2)
    assert await metric(mock, "vllm:kv_cache_usage_perc") == 0
    assert await metric(mock, "vllm:request_success_total", finished_reason="abort") == 2
    assert await metric(mock, "vllm:e2e_request_latency_seconds_count") == 0


async def test_a_client_that_hangs_up_while_waiting_never_runs(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=SLOW, limits=Limits(max_num_seqs=1)))
    async with mock.session() as session, session.post(CHAT, json=ENDLESS | {"stream": True}):
        asking = asyncio.create_task(mock.post(CHAT, ENDLESS))
        await mock.until(running=1, waiting=1)
        asking.cancel()
        await mock.until(running=1, waiting=0, aborted=1)


async def test_the_others_go_on_when_one_client_hangs_up(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=SLOW))
    async with mock.session() as session, session.post(CHAT, json=ENDLESS | {"stream": True}) as leaving:
        staying = asyncio.create_task(mock.stream(CHAT, **ENDLESS | {"max_tokens": 20}))
        await mock.until(running=2)
        leaving.close()
        streamed = await staying
    assert len(streamed.token_chunks) == 20
    assert streamed.done


async def test_a_stopping_engine_cuts_streams_without_done_and_answers_whole_requests_with_503(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=SLOW))
    async with mock.session() as session, session.post(CHAT, json=ENDLESS | {"stream": True}) as response:
        whole = asyncio.create_task(mock.post(CHAT, ENDLESS))
        received: list[bytes] = []
        await mock.until(running=2)
        mock.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_to_the_end(response, received)
    assert b"[DONE]" not in b"".join(received)
    assert received[-1].endswith(b"\n\n")
    status, error = await whole
    assert (status, error["error"]["message"]) == (503, "The engine is shutting down.")


async def test_a_draining_engine_finishes_what_runs_and_refuses_what_comes(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=SLOW, shutdown_timeout_seconds=10))
    running = asyncio.create_task(mock.stream(CHAT, **ENDLESS | {"max_tokens": 40}))
    await mock.until(running=1)
    mock.stop()
    async with mock.session() as session, session.get("/health") as health:
        assert health.status == 503
    status, error = await mock.post(CHAT, ENDLESS)
    assert (status, error["error"]["code"], error["error"]["type"]) == (503, 503, "ServiceUnavailableError")
    streamed = await running
    assert len(streamed.token_chunks) == 40
    assert streamed.done


async def test_a_second_stop_cuts_what_is_left(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=SLOW, shutdown_timeout_seconds=60))
    running = asyncio.create_task(mock.stream(CHAT, **ENDLESS))
    await mock.until(running=1)
    mock.stop()
    mock.stop()
    with pytest.raises(aiohttp.ClientPayloadError):
        await running
