"""What a request through the router leaves behind in metrics, access log and traces - and what it does not."""

import asyncio
import contextlib
import json
import logging
import os
from random import Random

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from fairlead_router import config
from fairlead_router.access_log import AccessLog
from fairlead_router.config import RouterConfig
from fairlead_router.contract import EndpointState
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.types import EndpointView
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, hash_of
from fairlead_router.line_writer import LineWriter
from fairlead_router.otel import OtelTracer

KEY = "fl-" + "k3y" * 14
WRONG_KEY = "fl-" + "wr0ng" * 8
PROMPT = "my-prompt-is-my-secret"
ANSWER = "and-so-is-the-answer"
BODY = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 2}}\n\n'
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.fixture
def lines(kit):
    """An access log of everything, and its lines as they arrive."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    log = AccessLog(LineWriter(writing), Random(1))
    log.apply(config.AccessLog())
    text = bytearray()

    class Lines:
        def use_by(self, running):
            running.relay.access_log = log

        async def wait_for(self, count):
            await kit.until(lambda: self._read().count(b"\n") >= count, f"{count} lines")
            return [json.loads(line) for line in text.splitlines()]

        def _read(self):
            with contextlib.suppress(BlockingIOError):
                text.extend(os.read(reading, 1 << 16))
            return text

        @property
        def text(self):
            return bytes(text)

    yield Lines()
    log.close()
    os.close(reading)
    os.close(writing)


@pytest.fixture
def traced():
    """A tracer, and the spans that it has sent."""

    class Traced:
        def __init__(self):
            self._exporter = InMemorySpanExporter()
            self.tracer = OtelTracer(self._exporter, ALWAYS_ON, {})

        def use_by(self, running):
            running.relay.tracer = self.tracer

        @property
        def spans(self):
            self.tracer.force_flush()
            return self._exporter.get_finished_spans()

    made = Traced()
    yield made
    made.tracer.close()


def with_keys(running):
    ring = KeyRing.from_yaml(f"keys: [{{name: acme-production, tenant: acme, hash: {hash_of(KEY.encode())!r}}}]")
    running.router.gate = Gate(ring)


async def test_a_stream_has_a_line_that_says_who_asked_for_what_where_it_went_and_how_it_ended(
    router, engine, kit, lines
):
    serving = await engine(kit.streams(kit.token("a"), kit.token("b", "stop"), USAGE, kit.DONE))
    running = await router([serving])
    lines.use_by(running)
    with_keys(running)
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "r-1"}
    _, answer, _ = await running.asked(body=BODY, headers=headers)
    (line,) = await lines.wait_for(1)
    assert 0 < line.pop("ttft_seconds") <= line.pop("seconds") < 5
    assert line.pop("time").endswith("Z")
    assert line == {
        "request_id": "r-1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "reason": "completed",
        "class": "default",
        "model": "mock",
        "tenant": "acme",
        "key": "acme-production",
        "endpoint": serving.address,
        "queue_seconds": None,
        "tokens_in": 12,
        "tokens_out": 2,
        "bytes_in": len(json.dumps(BODY)),
        "bytes_out": len(answer),
        "retries": 0,
        "trace_id": None,
    }


async def test_a_request_that_had_to_wait_says_so_and_for_how_long(router, engine, kit, lines, traced):
    ends = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await ends.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    serving = await engine(script)
    running = await router()
    limits = EngineLimits(max_num_seqs=1)
    running.router.set_endpoints([EndpointView("a", serving.address, EndpointState.READY, "a", limits=limits)])
    lines.use_by(running)
    traced.use_by(running)
    first = asyncio.create_task(running.asked(body=BODY))
    await kit.until(lambda: running.in_flight == 1, "the first runs")
    second = asyncio.create_task(running.asked(body=BODY))
    await kit.until(lambda: running.sample("fairlead_router_queue_depth", class_="default") == 1, "the second waits")
    ends.set()
    await asyncio.gather(first, second)
    at_once, waited = await lines.wait_for(2)
    assert at_once["queue_seconds"] is None
    assert 0 < waited["queue_seconds"] <= waited["ttft_seconds"]
    events = [[event.name for event in span.events] for span in traced.spans]
    assert events == [["placed", "first_token"], ["queued", "placed", "first_token"]]


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"headers": {"authorization": f"Bearer {WRONG_KEY}"}}, 401, "invalid_api_key"),
        ({"path": "/v1/nothing"}, 404, "not_found"),
        ({"body": b"not JSON"}, 400, "invalid_request"),
        ({}, 503, "no_endpoint"),
    ],
)
async def test_a_request_that_is_refused_has_a_line_too(router, lines, how, status, reason):
    running = await router([])
    lines.use_by(running)
    with_keys(running)
    await running.asked(**{"body": BODY, "headers": {"authorization": f"Bearer {KEY}"}, **how})
    (line,) = await lines.wait_for(1)
    assert (line["status"], line["reason"]) == (status, reason)
    assert line["endpoint"] is None


async def test_neither_prompt_nor_answer_nor_key_is_in_any_log_metric_or_trace(
    router, engine, kit, lines, traced, caplog
):
    caplog.set_level(logging.DEBUG)
    serving = await engine(kit.streams(kit.token(ANSWER, "stop"), kit.DONE))
    running = await router(["127.0.0.1:1", serving])  # nothing listens at the first: a retry
    lines.use_by(running)
    traced.use_by(running)
    with_keys(running)
    good = {"authorization": f"Bearer {KEY}"}
    for how in (
        {"headers": good},
        {"headers": good},
        {"headers": good, "path": f"/v1/chat/completions?q={PROMPT}"},
        {"headers": good, "path": f"/v1/nothing?q={PROMPT}"},
        {"headers": good, "body": json.dumps([PROMPT]).encode()},
        {"headers": good, "body": f'{{"model": "mock", "broken": "{PROMPT}'.encode()},
        {"headers": {"authorization": f"Bearer {WRONG_KEY}"}},
        {"headers": {"authorization": f"Basic {WRONG_KEY}"}},
        {"headers": {"authorization": f"Bearer {KEY}", "x-api-key": WRONG_KEY}},
    ):
        await running.asked(**{"body": BODY, **how})
    said = await lines.wait_for(9)
    assert {line["reason"] for line in said} >= {"completed", "not_found", "invalid_request", "invalid_api_key"}
    spans = "".join(span.to_json() for span in traced.spans)
    assert "chat mock" in spans
    metrics = (await running.router.telemetry.exposed()).decode()
    assert "fairlead_router_requests_total" in metrics
    for secret in (PROMPT, ANSWER, KEY, WRONG_KEY):
        for where in (lines.text.decode(), spans, metrics, caplog.text):
            assert secret not in where


async def test_the_engine_s_parent_is_the_router_s_span_whose_parent_is_the_caller_s(
    router, engine, kit, traced, lines
):
    serving = await engine(kit.streams(kit.token("a", "stop"), kit.DONE))
    running = await router([serving])
    traced.use_by(running)
    lines.use_by(running)
    await running.asked(body=BODY, headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
    (span,) = traced.spans
    assert span.parent.span_id == int(PARENT_ID, 16)
    assert [event.name for event in span.events] == ["placed", "first_token"]
    assert span.attributes["fairlead.endpoint"] == serving.address
    (received,) = serving.requests
    assert received.headers["traceparent"] == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"
    assert received.headers["tracestate"] == "vendor=1"
    (line,) = await lines.wait_for(1)
    assert line["trace_id"] == TRACE_ID


async def test_without_tracing_the_caller_s_parent_is_the_engine_s_too(router, engine, kit):
    serving = await engine(kit.streams(kit.token("a", "stop"), kit.DONE))
    running = await router([serving])
    await running.asked(body=BODY, headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
    (received,) = serving.requests
    assert received.headers["traceparent"] == TRACEPARENT
    assert received.headers["tracestate"] == "vendor=1"


async def test_a_retry_is_told_by_the_trace_and_the_line(router, engine, kit, traced, lines):
    serving = await engine(kit.streams(kit.token("a", "stop"), kit.DONE))
    running = await router(["127.0.0.1:1", serving])  # nothing listens at the first
    traced.use_by(running)
    lines.use_by(running)
    await running.asked(body=BODY)
    (span,) = traced.spans
    assert [event.name for event in span.events] == ["placed", "retry", "placed", "first_token"]
    (line,) = await lines.wait_for(1)
    assert (line["retries"], line["endpoint"], line["reason"]) == (1, serving.address, "completed")


async def test_a_configuration_turns_the_access_log_on(router, capfd, kit):
    running = await router([], RouterConfig(access_log=config.AccessLog()))
    await running.asked(body=BODY, headers={"x-request-id": "r-1"})
    seen = []

    def arrived():
        seen.append(capfd.readouterr().out)
        return "\n" in "".join(seen)

    await kit.until(arrived, "a line on stdout")
    assert json.loads("".join(seen))["request_id"] == "r-1"


async def test_what_the_router_holds_is_shown(router, engine, kit):
    serving = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([serving])
    async with running.post(body=BODY) as answer:
        await answer.content.readany()
        assert running.sample("fairlead_router_client_connections") == 1
        assert running.sample("fairlead_router_engine_connections", state="active") == 1
        assert running.sample("fairlead_router_engine_connections", state="idle") == 0
        assert running.sample("fairlead_router_buffered_bytes") == 0  # the engine has it all
    await kit.until(lambda: running.sample("fairlead_router_client_connections") == 0, "the client is gone")
    await kit.until(
        lambda: running.sample("fairlead_router_engine_connections", state="active") == 0, "its engine's connection too"
    )


async def test_a_body_on_its_way_in_is_held_and_shown(router, kit):
    running = await router([])

    async def body():
        yield b"x" * 1000
        await kit.until(lambda: running.sample("fairlead_router_buffered_bytes") == 1000, "the router holds the body")

    async with running.session.post(running.url + "/v1/chat/completions", data=body()) as answer:
        assert answer.status == 400
    assert running.sample("fairlead_router_buffered_bytes") == 0


async def test_the_lag_of_the_event_loop_is_observed_all_the_time(router, kit):
    running = await router([])
    await kit.until(lambda: (running.sample("fairlead_router_loop_lag_seconds_count") or 0) >= 3, "three observations")


async def test_the_streams_of_each_engine_are_observed(router, engine, kit):
    engines = [await engine(kit.streams(kit.token("a"), kit.token("b", "stop"), kit.DONE)) for _ in range(2)]
    running = await router(engines, RouterConfig(policy="round-robin"))
    for _ in range(4):
        await running.asked(body=BODY)
    for each in engines:
        assert running.sample("fairlead_router_endpoint_ttft_seconds_count", endpoint=each.address) == 2
        assert running.sample("fairlead_router_endpoint_tbt_seconds_count", endpoint=each.address) == 2
