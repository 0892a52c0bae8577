"""Traces of relayed requests: what the relay tells of a request, and nothing of what was said in it.

One span per relayed request, from the arrival of its head to its end, retries included. Its parent is the caller's
span, if the request names one (W3C `traceparent`), and the engine is told this span as its parent. Where tracing is not
configured, the objects here do nothing, and the caller's `traceparent` goes to the engine as it came.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from fairlead_router import config
from fairlead_router.contract import Reason, RetryReason
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage

Headers = Sequence[tuple[bytes, bytes]]

OPERATIONS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages/count_tokens": "count_tokens",
    "/v1/rerank": "rerank",
    "/rerank": "rerank",
    "/v1/score": "score",
    "/score": "score",
    "/tokenize": "tokenize",
    "/detokenize": "detokenize",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "translation",
}
"""`gen_ai.operation.name` by path: the conventions' word where they have one."""
OTHER_OPERATION: Final = "other"


class Trace(Protocol):
    """One request's trace; `end` comes once, and last."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; empty where there is no trace."""
        ...

    def headers_out(self) -> Headers:
        """Return the headers by which the engine continues the trace, in place of `Tracer.replaces`."""
        ...

    def queued(self) -> None:
        """Note that the request waits until an engine has room."""
        ...

    def placed(self, endpoint: EndpointView, explanation: str) -> None:
        """Note that an engine was chosen, and how."""
        ...

    def retried(self, reason: RetryReason) -> None:
        """Note that the request is sent once more."""
        ...

    def taken_back(self) -> None:
        """Note that the request has given its place to a more urgent one."""
        ...

    def first_token(self) -> None:
        """Note the first chunk that carries tokens."""
        ...

    def end(self, reason: Reason, status: int, outcome: Outcome | None, usage: Usage | None) -> None:
        """End the trace; `status` is the one that the client got, 0 where it got none."""
        ...


class Tracer(Protocol):
    """Begins traces."""

    @property
    def replaces(self) -> frozenset[bytes]:
        """Names of the client's headers that must not go to the engine, as `Trace.headers_out` has them anew."""
        ...

    @property
    def explains(self) -> bool:
        """Whether its traces tell how engines are chosen."""
        ...

    @property
    def export_failures(self) -> int:
        """How often the collector did not take spans, which are lost then."""
        ...

    def begin(self, headers: Headers, method: str, path: str, request: RequestView, seconds_ago: float) -> Trace:
        """Begin the trace of a request that arrived `seconds_ago` with these headers."""
        ...

    def retire(self) -> None:
        """Close as soon as every trace that was begun has ended; waits for nothing."""
        ...

    def close(self) -> None:
        """Send what is not sent yet; waits for the collector, for a few seconds at most."""
        ...


class NoTrace:
    """The trace of a request where none is wanted."""

    trace_id: Final = ""

    def headers_out(self) -> Headers:
        """Return nothing: the client's headers go to the engine as they came."""
        return ()

    def queued(self) -> None:
        """Note nothing."""

    def placed(self, endpoint: EndpointView, explanation: str) -> None:
        """Note nothing."""

    def retried(self, reason: RetryReason) -> None:
        """Note nothing."""

    def taken_back(self) -> None:
        """Note nothing."""

    def first_token(self) -> None:
        """Note nothing."""

    def end(self, reason: Reason, status: int, outcome: Outcome | None, usage: Usage | None) -> None:
        """Note nothing."""


class NoTracer:
    """Traces nothing, at no cost."""

    replaces: Final[frozenset[bytes]] = frozenset()
    explains: Final = False
    export_failures: Final = 0

    def __init__(self) -> None:
        self._trace = NoTrace()

    def begin(self, _headers: Headers, _method: str, _path: str, _request: RequestView, _seconds_ago: float) -> Trace:
        """Return the trace that does nothing, always the same."""
        return self._trace

    def retire(self) -> None:
        """Close nothing."""

    def close(self) -> None:
        """Send nothing."""


class Tracing:
    """The tracer that the configuration asks for, while it changes; requests keep the one that they began with."""

    def __init__(self, replica: str) -> None:
        """Trace nothing yet; `replica` names this process among those of its pool."""
        self._replica = replica
        self._settings: config.Tracing | None = None
        self._tracers: list[Tracer] = [NoTracer()]

    @property
    def tracer(self) -> Tracer:
        """The one for new requests."""
        return self._tracers[-1]

    @property
    def export_failures(self) -> int:
        """How often a collector did not take spans, over all configurations there were; never falls."""
        return sum(tracer.export_failures for tracer in self._tracers)

    def apply(self, settings: config.Tracing | None, pool: str) -> None:
        """Follow a configuration.

        Raises
        ------
        TracingUnavailableError
            OpenTelemetry is not installed; everything stays as it was.

        """
        if settings != self._settings:
            tracer = tracer_of(settings, pool=pool, replica=self._replica)
            self.tracer.retire()
            self._tracers.append(tracer)
            self._settings = settings

    def close(self) -> None:
        """Send what is not sent yet; waits for the collectors, for a few seconds at most."""
        for tracer in self._tracers:
            tracer.close()


class TracingUnavailableError(ValueError):
    """Traces are configured, and what they need is not installed."""


def tracer_of(settings: config.Tracing | None, *, pool: str, replica: str) -> Tracer:
    """Return what the configuration asks for; `replica` names this process among those of its pool.

    Raises
    ------
    TracingUnavailableError
        OpenTelemetry is not installed.

    """
    if settings is None:
        return NoTracer()
    try:
        # Imported here because it is an extra, and takes time and memory that a router without traces does not need.
        from fairlead_router.otel import otlp_tracer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise TracingUnavailableError(
            "tracing: OpenTelemetry is not installed; install it with pip install 'fairlead[tracing]', "
            "or leave tracing out of the configuration"
        ) from error
    return otlp_tracer(settings, pool=pool, replica=replica)
