"""Faults as clients meet them: real sockets, real processes."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest

from fairlead_engine.batch_time import Linear
from fairlead_engine.mock.faults import Fault, FaultName
from fairlead_engine.mock.settings import Settings

FAULTS = "/admin/faults"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
BODY = {"prompt": "x", "max_tokens": 20, "ignore_eos": True}


def faulty(start_mock: Any, *faults: Fault, **settings: Any) -> Any:
    return start_mock(Settings(faults=faults, **settings))


async def put(mock: Any, *faults: dict[str, Any], seed: int = 0) -> tuple[int, dict[str, Any]]:
    body = {"seed": seed, "faults": list(faults)}
    async with mock.session() as session, session.put(FAULTS, json=body) as response:
        return response.status, await response.json()


async def read_until_it_breaks(mock: Any, body: dict[str, Any]) -> tuple[bytes, aiohttp.ClientError]:
    """Return what came of an answer, and the error that ended it."""
    received = bytearray()

    async def read() -> None:
        async with mock.session() as session, session.post(COMPLETIONS, json=body) as response:
            async for data in response.content.iter_any():
                received.extend(data)

    with pytest.raises(aiohttp.ClientError) as broken:
        await read()
    return bytes(received), broken.value


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "InternalServerError"), (503, "ServiceUnavailableError"), (502, "Bad Gateway")]
)
async def test_an_error_comes_with_its_status_and_the_usual_body(start_mock: Any, status: int, kind: str) -> None:
    mock = faulty(start_mock, Fault(FaultName.ERROR, status, next=1))
    given, answer = await mock.post(COMPLETIONS, BODY)
    assert (given, answer["error"]["code"], answer["error"]["type"]) == (status, status, kind)
    assert (await mock.post(COMPLETIONS, BODY))[0] == 200


async def test_the_openai_client_waits_as_retry_after_says_and_succeeds(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.TOO_MANY_REQUESTS, 0, next=2))
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", max_retries=2) as api:
        completion = await api.completions.create(model="mock", prompt="x", max_tokens=2)
    assert completion.choices[0].text
    assert (await mock.get(FAULTS))[1]["faults"][0]["hits"] == 2


async def test_too_many_requests_says_when_to_come_again(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.TOO_MANY_REQUESTS, 7))
    async with mock.session() as session, session.post(COMPLETIONS, json=BODY) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        assert (await response.json())["error"]["type"] == "Too Many Requests"


async def test_an_anthropic_client_sees_the_error_in_its_own_shape(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.ERROR))
    status, answer = await mock.post("/v1/messages", {})
    assert status == 500
    assert answer == {"type": "error", "error": {"type": "InternalServerError", "message": "The engine failed."}}


async def test_a_reset_breaks_a_stream_after_the_chunks_that_were_asked_for(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.RESET, after=3), batch_time=Linear(0.02, 0.0))
    received, error = await read_until_it_breaks(mock, BODY | {"stream": True})
    assert received.count(b"data: ") in (3, 4)
    assert b"[DONE]" not in received
    assert isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientOSError)
    assert "reset" in str(error).lower()
    await mock.until(running=0, waiting=0, aborted=1)


async def test_a_truncated_stream_ends_within_a_chunk_and_without_its_end(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.TRUNCATE, after=2))
    received, error = await read_until_it_breaks(mock, BODY | {"stream": True})
    assert received.count(b"\n\n") == 2
    assert not received.endswith(b"\n\n")
    assert isinstance(error, aiohttp.ClientPayloadError)
    await mock.until(running=0, waiting=0)


@pytest.mark.parametrize("name", [FaultName.RESET, FaultName.TRUNCATE])
async def test_a_whole_answer_is_cut_in_its_one_chunk_however_late_the_fault_should_come(
    start_mock: Any, name: FaultName
) -> None:
    mock = faulty(start_mock, Fault(name, after=10))
    received, _ = await read_until_it_breaks(mock, BODY)
    assert not received.endswith(b"}")


@pytest.mark.parametrize("after", [0, 2])
async def test_a_hang_keeps_the_connection_open_until_the_client_leaves(start_mock: Any, after: int) -> None:
    mock = faulty(start_mock, Fault(FaultName.HANG, after=after, next=1))
    chunks: list[bytes] = []

    async def read() -> None:
        async with mock.session() as session, session.post(COMPLETIONS, json=BODY | {"stream": True}) as response:
            async for line in response.content:
                chunks.extend([line] if line.startswith(b"data") else [])

    reading = asyncio.create_task(read())
    await mock.until_hits(1)
    others = await mock.stream(COMPLETIONS, **BODY)
    assert len(others.token_chunks) == 20
    assert not reading.done()
    assert len(chunks) == after
    reading.cancel()
    await mock.until(running=0, waiting=0)


@pytest.mark.parametrize("after", [0, 2])
async def test_an_engine_that_stops_lets_go_of_what_hangs(start_mock: Any, after: int) -> None:
    mock = faulty(start_mock, Fault(FaultName.HANG, after=after))
    asking = asyncio.create_task(read_until_it_breaks(mock, BODY))
    await mock.until_hits(1)
    mock.stop()
    _, error = await asking
    assert isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError)


async def test_failing_health_leaves_requests_alone(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.UNHEALTHY, next=2))
    async with mock.session() as session:
        statuses = []
        for path in ("/health", "/ping", "/health"):
            async with session.get(path) as response:
                statuses.append(response.status)
    assert statuses == [503, 503, 200]
    assert (await mock.post(COMPLETIONS, BODY))[0] == 200


async def test_a_slowdown_makes_later_batches_longer(start_mock: Any) -> None:
    mock = faulty(start_mock, batch_time=Linear(0.005, 0.0))
    before = await mock.stream(COMPLETIONS, **BODY)
    await put(mock, {"name": "slowdown", "value": 20.0})
    slowed = await mock.stream(COMPLETIONS, **BODY)
    assert sum(slowed.gaps) > 2 * sum(before.gaps)
    assert sum(slowed.gaps[10:]) > sum(slowed.gaps[:9])


async def test_faults_hit_no_metrics_no_models_and_no_admin(start_mock: Any) -> None:
    mock = faulty(start_mock, Fault(FaultName.ERROR))
    for path in ("/metrics", "/v1/models", FAULTS, "/admin/requests", "/health", "/version"):
        async with mock.session() as session, session.get(path) as response:
            assert response.status == 200
    assert (await mock.post("/tokenize", {"prompt": "x"}))[0] == 200


@pytest.mark.parametrize(
    "path", [CHAT, COMPLETIONS, "/v1/responses", "/v1/messages", "/v1/embeddings", "/rerank", "/v1/score"]
)
async def test_faults_hit_every_endpoint_that_does_work(start_mock: Any, path: str) -> None:
    mock = faulty(start_mock, Fault(FaultName.ERROR, 503))
    assert (await mock.post(path, {}))[0] == 503


async def test_faults_are_set_shown_and_ended_while_the_engine_runs(start_mock: Any) -> None:
    mock = faulty(start_mock)
    assert (await mock.get(FAULTS))[1] == {"seed": 0, "requests": 0, "faults": []}
    status, _ = await put(
        mock, {"name": "error", "value": 503, "next": 2, "probability": 1.0}, {"name": "hang"}, seed=5
    )
    assert status == 200
    await mock.post(COMPLETIONS, BODY)
    _, shown = await mock.get(FAULTS)
    assert (shown["seed"], shown["requests"]) == (5, 1)
    assert [(fault["name"], fault["value"], fault["next"], fault["hits"]) for fault in shown["faults"]] == [
        ("error", 503.0, 2, 1),
        ("hang", None, None, 0),
    ]
    async with mock.session() as session, session.delete(FAULTS) as response:
        assert (response.status, (await response.json())["faults"]) == (200, [])
    assert (await mock.post(COMPLETIONS, BODY))[0] == 200


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"name": "nope"}, "Input should be 'slow-start'"),
        ({"name": "error", "value": 404}, "must be at least 500 and at most 599, not 404"),
        ({"name": "slow-start", "value": 1}, "this engine has started"),
        ({}, "Field required"),
    ],
)
async def test_a_wrong_fault_changes_nothing(start_mock: Any, fault: dict[str, Any], message: str) -> None:
    mock = faulty(start_mock, Fault(FaultName.ERROR))
    status, answer = await put(mock, fault)
    assert status == 400
    assert message in answer["error"]["message"]
    assert (await mock.get(FAULTS))[1]["faults"][0]["name"] == "error"
