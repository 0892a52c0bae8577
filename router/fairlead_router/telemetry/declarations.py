"""What everybody knows of the metrics, so that what processes send to one another need not say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from fairlead_router.contract import Metric


class Kind(Enum):
    """What a number may do."""

    COUNTER = auto()
    """Grow."""
    GAUGE = auto()
    """Rise and fall."""
    HISTOGRAM = auto()
    """Grow, bucket by bucket."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A metric's kind, the text of its HELP line and the names of its labels."""

    kind: Kind
    text: str
    labels: tuple[str, ...]


_BY_REQUEST = ("pool", "class", "model")
_BY_ENDPOINT = ("pool", "endpoint")

DECLARATIONS: Mapping[Metric, Declaration] = {
    Metric.REQUESTS: Declaration(Kind.COUNTER, "Requests by outcome.", ("pool", "class", "verdict", "reason")),
    Metric.OFFERED_REQUESTS: Declaration(Kind.COUNTER, "Valid requests, run or not.", ("pool", "class")),
    Metric.GOOD_REQUESTS: Declaration(Kind.COUNTER, "Requests completed within TTFT and TBT.", ("pool", "class")),
    Metric.TOKENS: Declaration(Kind.COUNTER, "Tokens of relayed requests.", ("pool", "direction")),
    Metric.RETRIES: Declaration(Kind.COUNTER, "Requests sent once more.", ("pool", "reason")),
    Metric.TAKEN_BACK: Declaration(
        Kind.COUNTER, "Requests that have given their place to a more urgent one.", ("pool", "class")
    ),
    Metric.RETRIES_WITHHELD: Declaration(Kind.COUNTER, "Retries that the budget did not allow.", ("pool",)),
    Metric.CONFIG_ERRORS: Declaration(Kind.COUNTER, "Configurations refused.", ("pool",)),
    Metric.ACCESS_LOG_DROPPED: Declaration(Kind.COUNTER, "Lines of the access log that were lost.", ("pool",)),
    Metric.TRACE_EXPORT_FAILURES: Declaration(
        Kind.COUNTER, "Batches of spans that the collector did not take.", ("pool",)
    ),
    Metric.TTFT: Declaration(Kind.HISTOGRAM, "Arrival to the first chunk with tokens.", _BY_REQUEST),
    Metric.TBT: Declaration(Kind.HISTOGRAM, "Gap between two chunks of a stream that carry tokens.", _BY_REQUEST),
    Metric.REQUEST_DURATION: Declaration(Kind.HISTOGRAM, "Arrival to the end of a placed request.", _BY_REQUEST),
    Metric.QUEUE_WAIT: Declaration(Kind.HISTOGRAM, "Wait for room, of placed requests; 0 without one.", _BY_REQUEST),
    Metric.ENDPOINT_TTFT: Declaration(Kind.HISTOGRAM, "TTFT of the streams of an endpoint.", _BY_ENDPOINT),
    Metric.ENDPOINT_TBT: Declaration(Kind.HISTOGRAM, "TBT of the streams of an endpoint.", _BY_ENDPOINT),
    Metric.LOOP_LAG: Declaration(Kind.HISTOGRAM, "How late the event loop does what is due.", ("pool",)),
    Metric.QUEUE_DEPTH: Declaration(Kind.GAUGE, "Requests that wait until an engine has room.", ("pool", "class")),
    Metric.CLIENT_CONNECTIONS: Declaration(Kind.GAUGE, "Open connections of clients.", ("pool",)),
    Metric.ENGINE_CONNECTIONS: Declaration(Kind.GAUGE, "Open connections to engines.", ("pool", "state")),
    Metric.BUFFERED_BYTES: Declaration(Kind.GAUGE, "Bodies of requests that are held, in bytes.", ("pool",)),
    Metric.IN_FLIGHT: Declaration(Kind.GAUGE, "Requests placed and not ended.", _BY_ENDPOINT),
    Metric.ENDPOINT_STATE: Declaration(Kind.GAUGE, "1 for the state an endpoint is in.", ("pool", "endpoint", "state")),
    Metric.ENDPOINT_BREAKER: Declaration(
        Kind.GAUGE, "1 for the state of an endpoint's circuit breaker.", ("pool", "endpoint", "state")
    ),
    Metric.ENDPOINT_TELEMETRY: Declaration(
        Kind.GAUGE, "1 for whether it is known what an engine says of itself.", ("pool", "endpoint", "state")
    ),
    Metric.ENDPOINT_KV_USAGE: Declaration(
        Kind.GAUGE, "Share of an engine's KV memory taken, as it says.", _BY_ENDPOINT
    ),
    Metric.PREDICTION_ERROR: Declaration(Kind.GAUGE, "Relative error of predicted TTFTs, as of late.", _BY_ENDPOINT),
    Metric.DISCOVERY_CONNECTED: Declaration(Kind.GAUGE, "0 while discovery works with its last view.", ("pool",)),
    Metric.DECIDER_CONNECTED: Declaration(
        Kind.GAUGE, "0 while any worker decides by itself, because the decider is lost.", ("pool",)
    ),
    Metric.WORKERS: Declaration(Kind.GAUGE, "Processes that serve users.", ("pool",)),
    Metric.PROCESS_DEATHS: Declaration(
        Kind.COUNTER, "Processes of the router that have died and were replaced.", ("pool", "process")
    ),
    Metric.BUILD_INFO: Declaration(Kind.GAUGE, "Always 1; the version is the label.", ("version",)),
}
