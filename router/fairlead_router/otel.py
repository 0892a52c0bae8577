"""Traces by OpenTelemetry, in the words of its conventions.

Names: HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/) and generative AI
(https://github.com/open-telemetry/semantic-conventions-genai, which is still in development; the constants that the
Python packages once had for it are deprecated, so the names are written here). What those do not have begins with
`fairlead.`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from fairlead_router import config
from fairlead_router.contract import Reason, RetryReason
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage
from fairlead_router.tracing import OPERATIONS, OTHER_OPERATION, Headers

logger = logging.getLogger(__name__)

PROVIDER: Final = "fairlead"
"""`gen_ai.provider.name`: which engine is behind is not the router's to know."""
BATCH_SPANS: Final = 64
"""Sent at a time. Writing a span down takes tens of microseconds in which the event loop may have to wait."""
EXPORT_TIMEOUT_SECONDS: Final = 5.0
CLOSE_TIMEOUT_SECONDS: Final = 5.0
_MAX_ATTRIBUTE: Final = 256
"""Characters: a client chooses path and model."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class OtelTracer:
    """Begins a span for every relayed request; whether it is recorded is for the sampler to say."""

    replaces: Final = frozenset({b"traceparent", b"tracestate"})
    explains: Final = True

    def __init__(self, exporter: SpanExporter, sampler: Sampler, resource: Mapping[str, AttributeValue]) -> None:
        self._exporter = _Counting(exporter)
        self._provider = TracerProvider(
            sampler=sampler,
            resource=Resource.create(resource),
            span_limits=SpanLimits(max_attribute_length=_MAX_ATTRIBUTE),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_export_batch_size=BATCH_SPANS))
        self._tracer = self._provider.get_tracer("fairlead_router", version("fairlead"))
        self._open = 0
        self._retired = False
        self._closing: threading.Thread | None = None

    @property
    def export_failures(self) -> int:
        """How often the collector did not take spans."""
        return self._exporter.failures

    def begin(self, headers: Headers, method: str, path: str, request: RequestView, seconds_ago: float) -> "OtelTrace":
        """Begin the span of a request, as `Tracer.begin` promises."""
        operation = OPERATIONS.get(path, OTHER_OPERATION)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.path": path,
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDER,
            "fairlead.class": request.service_class,
            "fairlead.request_id": request.request_id,
        }
        if path in OPERATIONS:
            attributes["http.route"] = path
        if request.model:
            attributes["gen_ai.request.model"] = request.model
        if request.streamed:
            attributes["gen_ai.request.stream"] = True
        span = self._tracer.start_span(
            f"{operation} {request.model[:_MAX_ATTRIBUTE]}".rstrip(),
            # An empty context for a request without a parent: whatever is current in this process is not its parent.
            context=_PROPAGATOR.extract(headers, Context(), _GETTER),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=time.time_ns() - int(seconds_ago * 1e9),
        )
        self._open += 1
        return OtelTrace(span, self._ended)

    def force_flush(self) -> None:
        """Send what has ended; waits for the collector."""
        self._provider.force_flush()

    def retire(self) -> None:
        """Close once nothing is traced any more, as `Tracer.retire` promises."""
        self._retired = True
        self._close_if_over()

    def close(self) -> None:
        """Send what is not sent yet, as `Tracer.close` promises."""
        self._shut_down().join(CLOSE_TIMEOUT_SECONDS)
        if self._shut_down().is_alive():
            logger.warning("the last spans are lost: the collector did not take them in %g s", CLOSE_TIMEOUT_SECONDS)

    def _ended(self) -> None:
        self._open -= 1
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._retired and not self._open:
            self._shut_down()

    def _shut_down(self) -> threading.Thread:
        """Begin to shut down, once; a thread of its own waits for the collector, for half a minute if need be."""
        if self._closing is None:
            self._closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
            self._closing.start()
        return self._closing


class OtelTrace:
    """The span of one request."""

    __slots__ = ("_ended", "_span", "trace_id")

    def __init__(self, span: Span, ended: Callable[[], None]) -> None:
        self._span = span
        self._ended = ended
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def headers_out(self) -> Headers:
        """Return `traceparent`, and `tracestate` where the caller sent one."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self._span, Context()))
        return [(name.encode(), value.encode()) for name, value in carrier.items()]

    def queued(self) -> None:
        """Note that no engine has room."""
        self._span.add_event("queued")

    def placed(self, endpoint: EndpointView, explanation: str) -> None:
        """Note the engine, and how it was chosen; the last one that was chosen is the span's."""
        if not self._span.is_recording():
            return
        host, _, port = endpoint.address.rpartition(":")
        where: dict[str, AttributeValue] = {
            "fairlead.endpoint": endpoint.name,
            "server.address": host.strip("[]"),
            "server.port": int(port),
        }
        self._span.add_event("placed", {**where, "fairlead.decision": explanation})
        self._span.set_attributes(where)

    def retried(self, reason: RetryReason) -> None:
        """Note why the request is sent once more."""
        self._span.add_event("retry", {"fairlead.reason": reason.value})

    def taken_back(self) -> None:
        """Note that a more urgent request has got the place."""
        self._span.add_event("taken_back")

    def first_token(self) -> None:
        """Note the first chunk that carries tokens."""
        self._span.add_event("first_token")

    def end(self, reason: Reason, status: int, outcome: Outcome | None, usage: Usage | None) -> None:
        """End the span; an error is what the client cannot help: neither its own mistakes nor its hanging up."""
        span = self._span
        if span.is_recording():
            span.set_attributes(_result(reason, status, outcome, usage))
            if reason not in _NO_ERROR and not 400 <= status < 500:
                span.set_status(StatusCode.ERROR, reason.value)
        span.end()
        self._ended()


_NO_ERROR: Final = frozenset({Reason.COMPLETED, Reason.CLIENT_DISCONNECTED})


def _result(reason: Reason, status: int, outcome: Outcome | None, usage: Usage | None) -> Mapping[str, AttributeValue]:
    result: dict[str, AttributeValue] = {"fairlead.reason": reason.value}
    if reason is not Reason.COMPLETED:
        result["error.type"] = reason.value
    if status:
        result["http.response.status_code"] = status
    if outcome is not None:
        result["fairlead.good"] = outcome.good
        if outcome.ttft_seconds is not None:
            result["gen_ai.response.time_to_first_chunk"] = outcome.ttft_seconds
    if usage is not None:
        result["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        result["gen_ai.usage.output_tokens"] = usage.output_tokens
    return result


class _HeaderGetter(Getter[Headers]):
    """Reads headers as the router has them: pairs of bytes, names in lower case."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        name = key.encode()
        return [value.decode("latin-1") for found, value in carrier if found == name] or None

    def keys(self, carrier: Headers) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_GETTER: Final = _HeaderGetter()


class _Counting(SpanExporter):
    """Counts the batches that were not taken; called by one thread at a time."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.failures = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.failures += 1
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def otlp_tracer(settings: config.Tracing, *, pool: str, replica: str) -> OtelTracer:
    """Return a tracer that sends spans to an OTLP endpoint, by HTTP."""
    exporter = OTLPSpanExporter(f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_SECONDS)
    return OtelTracer(exporter, ParentBased(TraceIdRatioBased(settings.sample)), resource_of(pool, replica))


def resource_of(pool: str, replica: str) -> Mapping[str, AttributeValue]:
    """Say who sends the spans."""
    return {
        "service.name": "fairlead-router",
        "service.version": version("fairlead"),
        "service.instance.id": replica,
        "fairlead.pool": pool,
    }
