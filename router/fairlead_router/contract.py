"""Names that the router promises to others: ports, labels, headers, reasons and metrics.

The operator, the dashboards and the tests import them from here, so that a name is spelled once. Nothing in this
module does anything.
"""

from enum import StrEnum

DATA_PORT = 8080
"""Port of the OpenAI API."""
ADMIN_PORT = 9090
"""Port of `/metrics`, `/health`, `/ready` and `/admin/v1/*`; not for users."""
ENGINE_PORT = 8000
"""Port on which every engine serves."""

CONFIG_KEY = "config.yaml"
"""Key of the router's configuration in its ConfigMap."""


class Label(StrEnum):
    """Labels on the objects of a pool."""

    POOL = "fairlead.dev/pool"
    COMPONENT = "fairlead.dev/component"
    REVISION = "fairlead.dev/revision"
    ROLE = "fairlead.dev/role"
    """Of an engine pod: a value of `Role`; `both` where it is not there."""


class Annotation(StrEnum):
    """Annotations on the pods of a pool."""

    DRAINING = "fairlead.dev/draining"
    """Set by the operator to an RFC 3339 time: routers send the pod no new request."""


class Component(StrEnum):
    """Values of `Label.COMPONENT`."""

    ENGINE = "engine"
    ROUTER = "router"


class Role(StrEnum):
    """What an engine is for: values of `Label.ROLE`."""

    BOTH = "both"
    PREFILL = "prefill"
    """Computes prompts for others: it gets no requests of users."""
    DECODE = "decode"


class Header(StrEnum):
    """Request and response headers, lower case."""

    REQUEST_ID = "x-request-id"
    SLO_CLASS = "x-slo-class"
    SLO_TTFT = "x-slo-ttft-ms"
    SLO_TBT = "x-slo-tbt-ms"
    """Limits of the request itself, in place of those of its class; only of callers that may set them."""
    SESSION = "x-session-id"
    """Which requests belong to one conversation."""
    TENANT = "x-fairlead-tenant"
    """Believed only with an API key that is marked trusted."""
    REASON = "x-fairlead-reason"
    EXPLAIN = "x-fairlead-explain"
    """Asks for the header below; only of callers that are trusted, and of everybody where no keys are configured."""
    DECISION = "x-fairlead-decision"
    """How the endpoint was chosen: policy, seconds in the queue, and the score of each endpoint that was weighed."""
    ENDPOINT = "x-fairlead-endpoint"
    RETRY_AFTER = "retry-after"
    DROPPED_REASON = "x-llm-d-request-dropped-reason"
    """llm-d's; so are its values."""


class Verdict(StrEnum):
    """What the router decided about a request: label `verdict`."""

    RUN = "run"
    REJECT = "reject"


class Reason(StrEnum):
    """Why a request ended as it did: label `reason`, header `x-fairlead-reason`, `code` of an error body."""

    __hash__ = str.__hash__  # an enumeration's own is a call of Python, and every request is counted by its reason

    PLACED = "placed"
    """An engine was chosen and its answer follows (header of a good answer only: how it ends is not known yet)."""
    COMPLETED = "completed"
    """The engine's answer was relayed to its end."""
    CLIENT_DISCONNECTED = "client_disconnected"
    """The client hung up; the request was aborted at the engine."""
    INVALID_REQUEST = "invalid_request"
    """The body is not a JSON object, or a field has a value of the wrong kind (400)."""
    REQUEST_TOO_LARGE = "request_too_large"
    """The body is larger than the router accepts (413)."""
    NOT_FOUND = "not_found"
    """The path is none of the router's (404)."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The path does not take this HTTP method (405)."""
    INVALID_API_KEY = "invalid_api_key"
    """No API key, or one that the router does not know (401)."""
    CLASS_NOT_ALLOWED = "class_not_allowed"
    """The API key may not use this class (403)."""
    MODEL_NOT_ALLOWED = "model_not_allowed"
    """The API key may not use this model (403)."""
    REQUEST_TIMEOUT = "request_timeout"
    """The client did not send its request in time (408)."""
    HEADERS_TOO_LARGE = "headers_too_large"
    """The head of the request is larger than the router accepts (431)."""
    NOT_IMPLEMENTED = "not_implemented"
    """The request asks for something of HTTP that the router does not do (501)."""
    OVERLOADED = "overloaded"
    """The router itself holds as many connections or bytes as it may (503)."""
    UNKNOWN_CLASS = "unknown_class"
    """`x-slo-class` names a class that the pool does not declare (400)."""
    MODEL_NOT_FOUND = "model_not_found"
    """`model` is not served by this pool (404)."""
    NO_ENDPOINT = "no_endpoint"
    """No engine of the pool is ready (503)."""
    QUEUE_FULL = "queue_full"
    """As many requests wait for an engine as may (429)."""
    QUEUE_TIMEOUT = "queue_timeout"
    """The request has waited for an engine as long as any may (429)."""
    QUOTA_EXCEEDED = "quota_exceeded"
    """The API key's tenant has asked as much of this class as it may in a minute (429)."""
    SLO_UNREACHABLE = "slo_unreachable"
    """The request's first token would come later than its class allows (429)."""
    TAKEN_BACK = "taken_back"
    """The place was given to a more urgent request before the engine had begun to answer; this one waits again. Of a place
    only: a request ends for another reason."""
    ENGINE_UNREACHABLE = "engine_unreachable"
    """Every engine tried refused the connection or closed it before its first byte (502)."""
    ENGINE_ERROR = "engine_error"
    """The engine answered with an error status, which was relayed."""
    ENGINE_DISCONNECTED = "engine_disconnected"
    """The engine was lost in the middle of its answer (502 when nothing had been relayed yet)."""
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    """The engine sent no byte of a streamed answer within `timeouts.firstByte` (504)."""
    INTER_TOKEN_TIMEOUT = "inter_token_timeout"  # noqa: S105 - a reason, not a password
    """The engine was silent inside its answer for longer than `timeouts.interToken`."""
    TOTAL_TIMEOUT = "total_timeout"
    """The request took longer than `timeouts.total` (504 when nothing had been relayed yet)."""
    SHUTTING_DOWN = "shutting_down"
    """The router is stopping and takes no new request (503)."""
    INTERNAL_ERROR = "internal_error"
    """A fault of the router itself, logged with its traceback (500)."""


class RetryReason(StrEnum):
    """Why a request was sent once more: label `reason` of the retries."""

    CONNECT_FAILED = "connect_failed"
    """No connection to the engine could be opened."""
    CONNECTION_CLOSED = "connection_closed"
    """The engine closed a new connection before the first byte of its answer."""
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """The engine answered 502, 503 or 504."""
    STALE_CONNECTION = "stale_connection"
    """A kept-alive connection turned out to be closed: sent again to the same engine on a new one."""


class Metric(StrEnum):
    """Metric names, without the suffixes that Prometheus adds."""

    TTFT = "fairlead_router_ttft_seconds"
    TBT = "fairlead_router_tbt_seconds"
    REQUEST_DURATION = "fairlead_router_request_duration_seconds"
    QUEUE_WAIT = "fairlead_router_queue_wait_seconds"
    QUEUE_DEPTH = "fairlead_router_queue_depth"
    REQUESTS = "fairlead_router_requests"
    OFFERED_REQUESTS = "fairlead_router_offered_requests"
    GOOD_REQUESTS = "fairlead_router_good_requests"
    TOKENS = "fairlead_router_tokens"
    IN_FLIGHT = "fairlead_router_in_flight"
    ENDPOINT_STATE = "fairlead_router_endpoint_state"
    RETRIES = "fairlead_router_retries"
    RETRIES_WITHHELD = "fairlead_router_retries_withheld"
    TAKEN_BACK = "fairlead_router_taken_back"
    DISCOVERY_CONNECTED = "fairlead_router_discovery_connected"
    DECIDER_CONNECTED = "fairlead_router_decider_connected"
    WORKERS = "fairlead_router_workers"
    PROCESS_DEATHS = "fairlead_router_process_deaths"
    CONFIG_ERRORS = "fairlead_router_config_errors"
    BUILD_INFO = "fairlead_router_build_info"
    ENDPOINT_BREAKER = "fairlead_router_endpoint_breaker"
    ENDPOINT_TELEMETRY = "fairlead_router_endpoint_telemetry"
    ENDPOINT_KV_USAGE = "fairlead_router_endpoint_kv_usage_ratio"
    PREDICTION_ERROR = "fairlead_router_prediction_error_ratio"
    ENDPOINT_TTFT = "fairlead_router_endpoint_ttft_seconds"
    ENDPOINT_TBT = "fairlead_router_endpoint_tbt_seconds"
    CLIENT_CONNECTIONS = "fairlead_router_client_connections"
    ENGINE_CONNECTIONS = "fairlead_router_engine_connections"
    BUFFERED_BYTES = "fairlead_router_buffered_bytes"
    LOOP_LAG = "fairlead_router_loop_lag_seconds"
    ACCESS_LOG_DROPPED = "fairlead_router_access_log_dropped"
    TRACE_EXPORT_FAILURES = "fairlead_router_trace_export_failures"


class EndpointState(StrEnum):
    """State of an endpoint as `GET /admin/v1/endpoints` and the metric `endpoint_state` report it."""

    READY = "ready"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    """Takes no new request; what runs there goes on."""
    GONE = "gone"
    """Lost from discovery while requests run there; they go on."""


class TelemetryState(StrEnum):
    """Whether the router knows what an engine says of itself, as `GET /admin/v1/endpoints` and the metrics report it."""

    NONE = "none"
    """It has never said anything that the router understands: what this router has placed is all that counts."""
    FRESH = "fresh"
    STALE = "stale"
    """It says nothing any more: what it holds is unknown, and less of its memory is given away."""


class BreakerState(StrEnum):
    """State of an endpoint's circuit breaker, as `GET /admin/v1/endpoints` and the metric `endpoint_breaker` report it."""

    CLOSED = "closed"
    """The endpoint gets requests."""
    OPEN = "open"
    """It has failed, and gets none while there is another."""
    HALF_OPEN = "half_open"
    """One request tries it, or the next will."""


TTFT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
"""Seconds; the TTFT limits of the pool's classes are added as edges."""
TBT_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
"""Seconds; the TBT limits of the pool's classes are added as edges."""
DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
"""Seconds."""
LOOP_LAG_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
"""Seconds; fine around 2 ms, which the 99th percentile should not pass."""
