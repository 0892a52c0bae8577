"""The router's metrics: names and labels are fixed in `contract`, what they mean in docs/router.md."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from fairlead_router import contract
from fairlead_router.config import RouterConfig, seconds
from fairlead_router.contract import EndpointState, Metric, Reason, RetryReason, Verdict
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView
from fairlead_router.relay.sse import Usage

MAX_LEARNT_MODELS = 64
"""Bound on the label `model` where the configuration does not list the models."""
OTHER_MODEL = "other"

_BY_REQUEST = ("pool", "class", "model")


class Telemetry:
    """All metrics of one router, in a registry of their own."""

    def __init__(self, config: RouterConfig, endpoints: Callable[[], Iterable[EndpointView]]) -> None:
        self.registry = CollectorRegistry()
        self._pool = config.pool
        self._models = ModelNames(config.models)
        self._requests = self._counter(Metric.REQUESTS, "Requests by outcome.", "pool", "class", "verdict", "reason")
        self._offered = self._counter(Metric.OFFERED_REQUESTS, "Valid requests, run or not.", "pool", "class")
        self._good = self._counter(Metric.GOOD_REQUESTS, "Requests completed within TTFT and TBT.", "pool", "class")
        self._tokens = self._counter(Metric.TOKENS, "Tokens of relayed requests.", "pool", "direction")
        self._retries = self._counter(Metric.RETRIES, "Requests sent once more.", "pool", "reason")
        self._config_errors = self._counter(Metric.CONFIG_ERRORS, "Configurations refused.", "pool")
        self._config_errors.labels(self._pool)
        self.discovery_connected = True
        self.registry.register(_StateCollector(self, endpoints))
        self._edges = _edges(config)
        self._ttft, self._tbt, self._duration = self._histograms()

    def apply(self, config: RouterConfig) -> bool:
        """Follow a new configuration; returns whether other SLO limits made the histograms start anew."""
        self._pool = config.pool
        self._models = ModelNames(config.models)
        edges = _edges(config)
        if edges == self._edges:
            return False
        self._edges = edges
        for histogram in (self._ttft, self._tbt, self._duration):
            self.registry.unregister(histogram)
        self._ttft, self._tbt, self._duration = self._histograms()
        return True

    @property
    def pool(self) -> str:
        """Value of the label `pool`."""
        return self._pool

    def offered(self, service_class: str) -> None:
        """Count a valid request, whatever becomes of it."""
        self._offered.labels(self._pool, service_class).inc()

    def rejected(self, service_class: str, reason: Reason) -> None:
        """Count a request that was not placed on any engine."""
        self._requests.labels(self._pool, service_class, Verdict.REJECT, reason).inc()

    def retried(self, reason: RetryReason) -> None:
        """Count a request that is sent once more."""
        self._retries.labels(self._pool, reason).inc()

    def config_refused(self) -> None:
        """Count a configuration that was refused; the last good one stays."""
        self._config_errors.labels(self._pool).inc()

    def ended(self, request: RequestView, outcome: Outcome, usage: Usage | None, *, known_model: bool) -> None:
        """Count a request that was placed; `known_model` says that an engine answered it well."""
        service_class = request.service_class
        self._requests.labels(self._pool, service_class, Verdict.RUN, outcome.reason).inc()
        if outcome.good:
            self._good.labels(self._pool, service_class).inc()
        model = self._models.label(request.model, known=known_model)
        self._duration.labels(self._pool, service_class, model).observe(outcome.duration_seconds)
        if usage is not None:
            self._tokens.labels(self._pool, "prompt").inc(usage.prompt_tokens)
        output_tokens = usage.output_tokens if usage is not None else outcome.token_chunks
        self._tokens.labels(self._pool, "output").inc(output_tokens)

    def stream(self, request: RequestView) -> "StreamMeters":
        """Return the histograms of one stream that an engine has begun to answer well."""
        labels = (self._pool, request.service_class, self._models.label(request.model, known=True))
        return StreamMeters(self._ttft.labels(*labels), self._tbt.labels(*labels))

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: Metric, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histograms(self) -> tuple[Histogram, Histogram, Histogram]:
        ttft, tbt = self._edges

        def histogram(name: Metric, text: str, edges: Sequence[float]) -> Histogram:
            return Histogram(name, text, _BY_REQUEST, buckets=edges, registry=self.registry)

        return (
            histogram(Metric.TTFT, "Arrival to the first chunk with tokens.", ttft),
            histogram(Metric.TBT, "Gap between two chunks of a stream that carry tokens.", tbt),
            histogram(Metric.REQUEST_DURATION, "Arrival to the end of a placed request.", contract.DURATION_BUCKETS),
        )


class StreamMeters:
    """TTFT and TBT histograms of one stream, looked up once."""

    __slots__ = ("_tbt", "_ttft")

    def __init__(self, ttft: Histogram, tbt: Histogram) -> None:
        self._ttft, self._tbt = ttft, tbt

    def first(self, ttft_seconds: float) -> None:
        """Observe the TTFT."""
        self._ttft.observe(ttft_seconds)

    def gap(self, seconds_before: float, chunks: int) -> None:
        """Observe `chunks` that arrived together: the gap before the first, and none before the others."""
        self._tbt.observe(seconds_before)
        self.together(chunks - 1)

    def together(self, chunks: int) -> None:
        """Observe chunks that arrived at the same moment as the one before."""
        for _ in range(chunks):
            self._tbt.observe(0.0)


class ModelNames:
    """Bounds the label `model`: the configured names or, where there are none, names that an engine knows.

    A client can send any name; only one that an engine has answered well becomes a label, and at most
    `MAX_LEARNT_MODELS` of them. All others are `other`.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        self._names = set(configured)
        self._learns = not self._names

    def label(self, model: str, *, known: bool) -> str:
        """Return the label for a model; `known` says that an engine has answered for it."""
        if self._learns and known and len(self._names) < MAX_LEARNT_MODELS:
            self._names.add(model)
        return model if model in self._names else OTHER_MODEL


class _StateCollector(Collector):
    """Gauges read at the moment of the scrape, so that an endpoint that is gone leaves no series behind."""

    def __init__(self, telemetry: Telemetry, endpoints: Callable[[], Iterable[EndpointView]]) -> None:
        self._telemetry = telemetry
        self._endpoints = endpoints

    def describe(self) -> Iterable[Family]:
        """Claim no names up front; the registry would have to collect for it."""
        return ()

    def collect(self) -> Iterator[Family]:
        pool = self._telemetry.pool
        in_flight = GaugeMetricFamily(Metric.IN_FLIGHT, "Requests placed and not ended.", labels=("pool", "endpoint"))
        state = GaugeMetricFamily(
            Metric.ENDPOINT_STATE, "1 for the state an endpoint is in.", labels=("pool", "endpoint", "state")
        )
        running, states = _by_name(self._endpoints())
        for name, current in states.items():
            in_flight.add_metric((pool, name), running[name])
            for each in EndpointState:
                state.add_metric((pool, name, each), float(current is each))
        connected = GaugeMetricFamily(
            Metric.DISCOVERY_CONNECTED, "0 while discovery works with its last view.", labels=("pool",)
        )
        connected.add_metric((pool,), float(self._telemetry.discovery_connected))
        build = GaugeMetricFamily(Metric.BUILD_INFO, "Always 1; the version is the label.", labels=("version",))
        build.add_metric((version("fairlead"),), 1)
        yield from (in_flight, state, connected, build)


def _by_name(endpoints: Iterable[EndpointView]) -> tuple[Tally[str], dict[str, EndpointState]]:
    """Sum requests in flight, and find the state, by name; a pod that is gone may share its name with its successor."""
    running: Tally[str] = Tally()
    states: dict[str, EndpointState] = {}
    for endpoint in endpoints:
        running[endpoint.name] += endpoint.in_flight
        if endpoint.name not in states or endpoint.state is not EndpointState.GONE:
            states[endpoint.name] = endpoint.state
    return running, states


def _edges(config: RouterConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Buckets of TTFT and TBT: the fixed lists with the SLO limits of all classes as further edges."""
    ttft = {seconds(c.ttft) for c in config.classes if c.ttft is not None}
    tbt = {seconds(c.tbt) for c in config.classes if c.tbt is not None}
    return tuple(sorted({*contract.TTFT_BUCKETS, *ttft})), tuple(sorted({*contract.TBT_BUCKETS, *tbt}))
