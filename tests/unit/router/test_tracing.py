"""A request's span: whose child it is, what it says, and what the engine is told."""

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from fairlead_router import config, otel
from fairlead_router.contract import EndpointState, Reason, RetryReason
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage
from fairlead_router.otel import OtelTracer, otlp_tracer, resource_of
from fairlead_router.relay.routes import ROUTES
from fairlead_router.tracing import OPERATIONS, NoTracer, Tracing, TracingUnavailableError, tracer_of

DEADLINE_SECONDS = 5.0
PATH = "/v1/chat/completions"
REQUEST = RequestView("r-1", "mistral-7b", "interactive", arrived_at=0.0, streamed=True)
ENGINE = EndpointView("u1", "10.0.0.1:8000", EndpointState.READY, "chat-0")
OTHER = EndpointView("u2", "[fd00::2]:8001", EndpointState.READY, "chat-1")
OUTCOME = Outcome(
    Reason.COMPLETED, good=True, duration_seconds=1.0, ttft_seconds=0.125, worst_tbt_seconds=0.1, token_chunks=9
)
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = (b"traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01".encode())
NOT_SAMPLED = (b"traceparent", f"00-{TRACE_ID}-{PARENT_ID}-00".encode())


class Traced:
    """A tracer and the spans that it has sent."""

    def __init__(self, sampler=ALWAYS_ON):
        self._exporter = InMemorySpanExporter()
        self.tracer = OtelTracer(self._exporter, sampler, resource_of("chat", "router-0"))

    def begin(self, *headers, request=REQUEST, method="POST", path=PATH, seconds_ago=0.0):
        return self.tracer.begin([(b"host", b"x"), *headers], method, path, request, seconds_ago)

    @property
    def spans(self):
        self.tracer.force_flush()
        return self._exporter.get_finished_spans()

    @property
    def span(self):
        (span,) = self.spans
        return span


HOW = {"fairlead.decision": "policy=rad"}


@pytest.fixture
def traced():
    made = Traced()
    yield made
    made.tracer.close()


def test_a_request_is_one_server_span_in_the_words_of_the_conventions(traced):
    trace = traced.begin()
    trace.placed(ENGINE, "policy=rad")
    trace.first_token()
    trace.end(Reason.COMPLETED, 200, OUTCOME, Usage(12, 345))
    assert traced.span.name == "chat mistral-7b"
    assert traced.span.kind is SpanKind.SERVER
    assert dict(traced.span.attributes) == {
        "http.request.method": "POST",
        "http.route": PATH,
        "url.path": PATH,
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fairlead",
        "gen_ai.request.model": "mistral-7b",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.125,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 345,
        "server.address": "10.0.0.1",
        "server.port": 8000,
        "fairlead.endpoint": "chat-0",
        "fairlead.class": "interactive",
        "fairlead.request_id": "r-1",
        "fairlead.reason": "completed",
        "fairlead.good": True,
    }
    assert [event.name for event in traced.span.events] == ["placed", "first_token"]
    assert traced.span.status.status_code is StatusCode.UNSET


def test_the_span_begins_when_the_request_arrived(traced):
    before = time.time_ns()
    traced.begin(seconds_ago=2.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    assert 1.9e9 < before - traced.span.start_time < 2.1e9
    assert traced.span.end_time >= before


def test_a_retry_is_an_event_with_its_reason_and_the_last_engine_is_the_span_s(traced):
    trace = traced.begin()
    trace.placed(ENGINE, "policy=rad")
    trace.retried(RetryReason.CONNECT_FAILED)
    trace.placed(OTHER, "policy=rad")
    trace.end(Reason.COMPLETED, 200, OUTCOME, None)
    events = [(event.name, dict(event.attributes)) for event in traced.span.events]
    assert events == [
        ("placed", {"fairlead.endpoint": "chat-0", "server.address": "10.0.0.1", "server.port": 8000, **HOW}),
        ("retry", {"fairlead.reason": "connect_failed"}),
        ("placed", {"fairlead.endpoint": "chat-1", "server.address": "fd00::2", "server.port": 8001, **HOW}),
    ]
    assert traced.span.attributes["fairlead.endpoint"] == "chat-1"


def test_the_caller_s_span_is_the_parent_and_the_engine_is_told_ours(traced):
    trace = traced.begin(SAMPLED, (b"tracestate", b"vendor=1"))
    assert trace.trace_id == TRACE_ID
    told = dict(trace.headers_out())
    trace.end(Reason.COMPLETED, 200, OUTCOME, None)
    span = traced.span
    assert span.parent.span_id == int(PARENT_ID, 16)
    assert span.parent.is_remote
    assert told == {
        b"traceparent": f"00-{TRACE_ID}-{span.context.span_id:016x}-01".encode(),
        b"tracestate": b"vendor=1",
    }
    assert told.keys() <= traced.tracer.replaces


@pytest.mark.parametrize("headers", [(), ((b"traceparent", b"00-nonsense"),), ((b"traceparent", b"\xff"),)])
def test_a_request_without_a_usable_parent_begins_a_trace_of_its_own(traced, headers):
    trace = traced.begin(*headers)
    trace.end(Reason.COMPLETED, 200, OUTCOME, None)
    assert traced.span.parent is None
    assert len(trace.trace_id) == 32
    assert trace.trace_id != TRACE_ID


@pytest.mark.parametrize(("header", "recorded"), [(SAMPLED, 1), (NOT_SAMPLED, 0)])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_caller_s_decision_to_record_is_followed_whatever_our_share_is(header, recorded, share):
    traced = Traced(ParentBased(TraceIdRatioBased(share)))
    trace = traced.begin(header)
    trace.placed(ENGINE, "policy=rad")
    told = dict(trace.headers_out())[b"traceparent"]
    trace.end(Reason.COMPLETED, 200, OUTCOME, None)
    assert len(traced.spans) == recorded
    assert told.startswith(f"00-{TRACE_ID}-".encode())
    assert told.endswith(b"-01" if recorded else b"-00")
    traced.tracer.close()


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (Reason.COMPLETED, 200, False),
        (Reason.CLIENT_DISCONNECTED, 0, False),
        (Reason.MODEL_NOT_FOUND, 404, False),
        (Reason.ENGINE_ERROR, 400, False),
        (Reason.ENGINE_ERROR, 500, True),
        (Reason.ENGINE_DISCONNECTED, 200, True),  # inside a stream
        (Reason.NO_ENDPOINT, 503, True),
    ],
)
def test_an_error_is_what_the_client_cannot_help_and_names_our_reason(traced, reason, status, error):
    traced.begin().end(reason, status, None, None)
    assert traced.span.status.status_code is (StatusCode.ERROR if error else StatusCode.UNSET)
    assert traced.span.status.description == (reason.value if error else None)
    assert traced.span.attributes["fairlead.reason"] == reason
    assert traced.span.attributes.get("error.type") == (None if reason is Reason.COMPLETED else reason)


def test_what_is_not_known_of_a_request_is_not_said(traced):
    traced.begin(request=REQUEST._replace(model="", streamed=False)).end(Reason.CLIENT_DISCONNECTED, 0, None, None)
    assert traced.span.name == "chat"
    said = {name for name in traced.span.attributes if name.startswith(("gen_ai.request", "gen_ai.usage", "server"))}
    assert not said
    assert "http.response.status_code" not in traced.span.attributes


def test_a_path_that_the_router_does_not_know_is_no_route(traced):
    traced.begin(path="/v1/x" * 200, method="DELETE").end(Reason.COMPLETED, 200, OUTCOME, None)
    assert traced.span.attributes["gen_ai.operation.name"] == "other"
    assert "http.route" not in traced.span.attributes
    assert len(traced.span.attributes["url.path"]) == 256


def test_every_relayed_path_is_an_operation():
    assert set(OPERATIONS) == set(ROUTES)


def test_without_tracing_a_request_s_headers_go_to_the_engine_as_they_came():
    tracer = tracer_of(None, pool="chat", replica="router-0")
    assert isinstance(tracer, NoTracer)
    assert not tracer.replaces
    trace = tracer.begin([SAMPLED], "POST", PATH, REQUEST, 0.0)
    trace.placed(ENGINE, "policy=rad")
    trace.retried(RetryReason.CONNECT_FAILED)
    trace.first_token()
    trace.end(Reason.COMPLETED, 200, OUTCOME, None)
    assert not trace.headers_out()
    assert not trace.trace_id
    assert tracer.export_failures == 0
    tracer.close()


def test_tracing_without_its_extra_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "fairlead_router.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingUnavailableError, match=r"tracing: OpenTelemetry .* pip install 'fairlead\[tracing\]'"):
        tracer_of(config.Tracing(endpoint="http://collector:4318"), pool="chat", replica="router-0")


class Collector(HTTPServer):
    """Takes spans by OTLP/HTTP, or refuses them."""

    def __init__(self, status):
        self.status = status
        self.received = []
        self.arrived = threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.server.arrived.set()
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def collector(request):
    with Collector(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("collector", [200], indirect=True)
def test_spans_reach_a_collector_by_the_time_the_tracer_is_closed(collector):
    settings = config.Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}/")
    tracer = tracer_of(settings, pool="chat", replica="router-0")
    tracer.begin([], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    tracer.close()
    ((path, sent),) = collector.received
    assert path == "/v1/traces"
    (resource_spans,) = sent.resource_spans
    resource = {each.key: each.value.string_value for each in resource_spans.resource.attributes}
    assert resource["service.name"] == "fairlead-router"
    assert resource["service.instance.id"] == "router-0"
    assert resource["fairlead.pool"] == "chat"
    assert [span.name for span in resource_spans.scope_spans[0].spans] == ["chat mistral-7b"]
    assert tracer.export_failures == 0


@pytest.mark.parametrize("collector", [400], indirect=True)
def test_spans_that_a_collector_does_not_take_are_counted(collector):
    tracer = otlp_tracer(
        config.Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}"), pool="chat", replica="router-0"
    )
    tracer.begin([], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    tracer.force_flush()
    assert tracer.export_failures == 1
    tracer.close()


@pytest.mark.parametrize("collector", [200], indirect=True)
def test_a_share_of_the_requests_without_a_parent_is_recorded(collector):
    settings = config.Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}", sample=0.0)
    tracer = tracer_of(settings, pool="chat", replica="router-0")
    tracer.begin([], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    tracer.begin([SAMPLED], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    tracer.close()
    spans = [span for _, sent in collector.received for span in sent.resource_spans[0].scope_spans[0].spans]
    assert [span.trace_id.hex() for span in spans] == [TRACE_ID]


@pytest.mark.parametrize("collector", [200], indirect=True)
def test_a_request_is_traced_to_its_end_by_the_configuration_that_it_began_with(collector):
    tracing = Tracing("router-0")
    tracing.apply(config.Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}"), "chat")
    running = tracing.tracer.begin([], "POST", PATH, REQUEST, 0.0)
    tracing.apply(None, "chat")
    assert isinstance(tracing.tracer, NoTracer)
    running.end(Reason.COMPLETED, 200, OUTCOME, None)
    assert collector.arrived.wait(DEADLINE_SECONDS), "the span was not sent when its request had ended"
    tracing.close()
    assert len(collector.received) == 1


def test_the_same_configuration_keeps_its_tracer():
    tracing = Tracing("router-0")
    settings = config.Tracing(endpoint="http://127.0.0.1:1")
    tracing.apply(settings, "chat")
    tracer = tracing.tracer
    tracing.apply(settings.model_copy(), "chat")
    assert tracing.tracer is tracer
    tracing.close()


@pytest.mark.parametrize("collector", [400], indirect=True)
def test_spans_lost_under_a_former_configuration_stay_counted(collector):
    tracing = Tracing("router-0")
    tracing.apply(config.Tracing(endpoint=f"http://127.0.0.1:{collector.server_port}"), "chat")
    tracing.tracer.begin([], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
    tracing.apply(None, "chat")
    tracing.close()
    assert tracing.export_failures == 1


def test_a_configuration_that_cannot_be_followed_changes_nothing(monkeypatch):
    tracing = Tracing("router-0")
    before = tracing.tracer
    monkeypatch.delitem(sys.modules, "fairlead_router.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingUnavailableError):
        tracing.apply(config.Tracing(endpoint="http://collector:4318"), "chat")
    assert tracing.tracer is before


def test_closing_gives_up_on_a_collector_that_does_not_answer_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(otel, "CLOSE_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(otel, "EXPORT_TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracer = otlp_tracer(
            config.Tracing(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"), pool="chat", replica="router-0"
        )
        tracer.begin([], "POST", PATH, REQUEST, 0.0).end(Reason.COMPLETED, 200, OUTCOME, None)
        tracer.close()
    assert "the last spans are lost: the collector did not take them in 0.2 s" in caplog.text
    monkeypatch.setattr(otel, "CLOSE_TIMEOUT_SECONDS", DEADLINE_SECONDS)
    tracer.close()  # its thread ends by itself
