"""What becomes of a streamed answer, whatever the engine does."""

import asyncio
import json

import aiohttp
import pytest

from fairlead_router.config import RouterConfig, ServiceClass, Timeouts


def events_of(body: bytes) -> list[str]:
    assert body.endswith(b"\n\n"), "a stream ends between two events"
    return [part.removeprefix("data: ") for part in body.decode().split("\n\n")[:-1]]


def error_of(body: bytes) -> dict[str, object]:
    """The one error event that ends a broken stream."""
    events = events_of(body)
    assert "[DONE]" not in events
    errors = [json.loads(event)["error"] for event in events if event.startswith('{"error"')]
    assert len(errors) == 1
    assert events[-1].startswith('{"error"')
    return errors[0]


async def test_a_stream_passes_byte_for_byte(engine, router, kit):
    sent = [kit.token(""), kit.token("a"), b": a comment\n\n", kit.token("b", "stop"), kit.DONE]
    running = await router([await engine(kit.streams(*sent))])
    status, body, headers = await running.asked()
    assert (status, body) == (200, b"".join(sent))
    assert headers["content-type"].startswith("text/event-stream")
    assert running.ended("completed") == 1


async def test_chunks_arrive_when_the_engine_sends_them_and_not_later(engine, router, kit):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    running = await router([await engine(script)])
    async with running.post() as answer:
        assert await answer.content.readany() == kit.token("a")
        go_on.set()
        assert await answer.content.read() == kit.DONE


async def test_an_engine_that_resets_mid_stream_leaves_one_error_event_and_a_clean_end(engine, router, kit):
    reset = asyncio.Event()
    broken = await engine(kit.answers_then_resets(reset, kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([broken])
    async with running.post() as answer:
        first = await answer.content.readany()
        reset.set()
        body = first + await answer.content.read()
    error = error_of(body)
    assert error["code"] == "engine_disconnected"
    assert set(error) == {"message", "type", "code", "param"}
    assert running.ended("engine_disconnected") == 1


@pytest.mark.parametrize(
    "cut_off",
    [
        pytest.param(b'data: {"choi', id="in the middle of a line"),
        pytest.param(b'data: {"choices": []}\n', id="before the blank line"),
        pytest.param(b"", id="between two events"),
    ],
)
async def test_half_an_event_is_not_passed_on_when_the_engine_is_lost_inside_it(engine, router, kit, cut_off):
    parts = [kit.STREAM_HEAD, kit.chunk(kit.token("a") + cut_off)]
    running = await router([await engine(kit.answers_then_closes(*parts))])
    _, body, _ = await running.asked()
    assert body.startswith(kit.token("a") + b'data: {"error"')
    assert error_of(body)["code"] == "engine_disconnected"


async def test_a_stream_that_ends_properly_but_too_early_is_an_error(engine, router, kit):
    running = await router([await engine(kit.streams(kit.token("a")))])
    _, body, _ = await running.asked()
    assert error_of(body)["code"] == "engine_disconnected"


async def test_a_stream_with_a_finish_reason_but_no_done_is_complete(engine, router, kit):
    running = await router([await engine(kit.streams(kit.token("a", "stop")))])
    _, body, _ = await running.asked()
    assert body == kit.token("a", "stop")
    assert running.ended("completed") == 1


async def test_after_done_the_loss_of_the_engine_is_no_error(engine, router, kit):
    parts = [kit.STREAM_HEAD, kit.chunk(kit.token("a", "stop") + kit.DONE)]
    running = await router([await engine(kit.answers_then_closes(*parts))])
    _, body, _ = await running.asked()
    assert body == kit.token("a", "stop") + kit.DONE
    assert running.ended("completed") == 1


async def test_an_engine_lost_before_its_first_event_is_a_502_because_nothing_was_sent(engine, router, kit):
    running = await router([await engine(kit.answers_then_closes(kit.STREAM_HEAD))])
    status, body, _ = await running.asked()
    assert status == 502
    assert json.loads(body)["error"]["code"] == "engine_disconnected"


async def test_a_silent_engine_ends_its_stream_after_the_inter_token_timeout(engine, router, kit):
    silent = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([silent], RouterConfig(timeouts=Timeouts(inter_token="100ms")))
    _, body, _ = await running.asked()
    assert error_of(body)["code"] == "inter_token_timeout"
    await kit.until(lambda: silent.hung_up == 1, "the engine sees the hang-up")


async def test_the_total_timeout_ends_a_stream_that_never_stops(engine, router, kit):
    async def endless(connection):
        await connection.send(kit.STREAM_HEAD)
        while True:
            await connection.send(kit.chunk(kit.token("a")))
            await asyncio.sleep(0.01)

    running = await router([await engine(endless)], RouterConfig(timeouts=Timeouts(total="200ms")))
    _, body, _ = await running.asked()
    assert error_of(body)["code"] == "total_timeout"


async def test_a_client_that_reads_slowly_is_not_a_silent_engine(engine, router, kit):
    large = kit.token("x" * 60_000)
    running = await router(
        [await engine(kit.streams(*[large] * 200, kit.DONE))], RouterConfig(timeouts=Timeouts(inter_token="150ms"))
    )
    async with running.post() as answer:
        await answer.content.readany()
        await asyncio.sleep(0.4)  # the pause is the test: longer than the limit
        rest = await answer.content.read()
    assert rest.endswith(kit.DONE)
    assert running.ended("completed") == 1


async def test_a_client_that_hangs_up_mid_stream_is_a_hang_up_for_the_engine(engine, router, kit):
    hanging = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([hanging])
    answer = await running.post()
    await answer.content.readany()
    answer.close()
    await kit.until(lambda: hanging.hung_up == 1, "the engine sees the hang-up")
    await kit.until(lambda: running.ended("client_disconnected") == 1, "the request is counted")
    assert running.in_flight == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_before_the_first_byte_is_a_hang_up_for_the_engine(engine, router, kit, stream):
    hanging = await engine(kit.answers_then_hangs())
    running = await router([hanging])
    asking = asyncio.create_task(running.asked(body={"model": "mock", "stream": stream}))
    await kit.until(lambda: len(hanging.requests) == 1, "the engine has the request")
    asking.cancel()
    await kit.until(lambda: hanging.hung_up == 1, "the engine sees the hang-up")
    await kit.until(lambda: running.ended("client_disconnected") == 1, "the request is counted")
    assert running.in_flight == 0


async def test_an_error_that_the_engine_reports_inside_its_stream_is_passed_on_once(engine, router, kit):
    sent = [kit.token("a"), kit.event(error={"message": "boom", "code": 500}), kit.DONE]
    running = await router([await engine(kit.streams(*sent))])
    _, body, _ = await running.asked()
    assert body == b"".join(sent)
    assert running.ended("engine_error") == 1


async def test_ttft_is_the_first_chunk_with_tokens_and_tbt_every_gap_after_it(engine, router, kit):
    usage = kit.event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})
    sent = [kit.token(""), kit.token("a"), kit.token("b"), kit.token("c", "stop"), usage, kit.DONE]
    running = await router([await engine(kit.streams(*sent))])
    await running.asked()
    labels = {"class_": "default", "model": "mock"}
    assert running.sample("fairlead_router_ttft_seconds_count", **labels) == 1
    assert running.sample("fairlead_router_tbt_seconds_count", **labels) == 2
    assert running.sample("fairlead_router_tokens_total", direction="prompt") == 7
    assert running.sample("fairlead_router_tokens_total", direction="output") == 3
    assert running.sample("fairlead_router_good_requests_total", class_="default") == 1


async def test_events_that_arrive_together_are_counted_one_by_one(engine, router, kit):
    sent = b"".join([kit.token("a"), kit.token("b"), kit.token("c", "stop"), kit.DONE])
    running = await router([await engine(kit.streams(sent))])
    await running.asked()
    labels = {"class_": "default", "model": "mock"}
    assert running.sample("fairlead_router_tbt_seconds_count", **labels) == 2
    assert running.sample("fairlead_router_tokens_total", direction="output") == 3


@pytest.mark.parametrize(("limit", "good"), [("10s", 1), ("1ms", 0)])
async def test_a_request_is_good_only_within_the_limits_of_its_class(engine, router, kit, limit, good):
    async def slow(connection):
        await asyncio.sleep(0.02)
        await kit.streams(kit.token("a", "stop"), kit.DONE)(connection)

    config = RouterConfig(classes=(ServiceClass(name="chat", ttft=limit),))
    running = await router([await engine(slow)], config)
    await running.asked(headers={"x-slo-class": "chat"})
    assert running.sample("fairlead_router_offered_requests_total", class_="chat") == 1
    assert running.sample("fairlead_router_good_requests_total", class_="chat") == good


async def test_an_event_without_end_does_not_fill_the_memory(engine, router, kit):
    endless = b"data: " + b"x" * 5_000_000
    running = await router([await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(endless)))])
    status, _, _ = await running.asked()
    assert status == 502
    assert running.ended("engine_disconnected") == 1


async def test_a_length_that_the_engine_announced_does_not_forbid_the_error_event(engine, router, kit):
    announced = kit.head("200 OK", "content-type: text/event-stream", "content-length: 5000")
    running = await router([await engine(kit.answers_then_closes(announced, kit.token("a")))])
    _, body, headers = await running.asked()
    assert "content-length" not in headers
    assert error_of(body)["code"] == "engine_disconnected"


async def test_a_broken_whole_answer_breaks_the_connection(engine, router, kit):
    announced = kit.head("200 OK", "content-type: application/json", "content-length: 100")
    running = await router([await engine(kit.answers_then_closes(announced, b'{"half": '))])
    with pytest.raises(aiohttp.ClientPayloadError):
        await running.asked()
    assert running.ended("engine_disconnected") == 1
    chunked = kit.head("200 OK", "content-type: application/json", "transfer-encoding: chunked")
    running.show([await engine(kit.answers_then_closes(chunked, kit.chunk(b'{"half": ')))])
    with pytest.raises(aiohttp.ClientPayloadError):
        await running.asked()
    assert running.ended("engine_disconnected") == 2
