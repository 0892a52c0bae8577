"""All metrics of one process, and of the workers that it supervises."""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from fairlead_router import contract
from fairlead_router.config import RouterConfig, seconds
from fairlead_router.contract import Metric, Reason, RetryReason, Verdict
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage
from fairlead_router.telemetry.accumulators import Counter, Histogram, StreamMeters
from fairlead_router.telemetry.exposition import families, rendered
from fairlead_router.telemetry.labels import ModelNames
from fairlead_router.telemetry.snapshot import Edges, Series, Snapshot, WorkerCounts, merge, series, without_others
from fairlead_router.telemetry.state import Processes, state_of

_COUNTED = (
    Metric.REQUESTS,
    Metric.OFFERED_REQUESTS,
    Metric.GOOD_REQUESTS,
    Metric.TOKENS,
    Metric.RETRIES,
    Metric.TAKEN_BACK,
    Metric.CONFIG_ERRORS,
)
_OBSERVED = (
    Metric.TTFT,
    Metric.TBT,
    Metric.REQUEST_DURATION,
    Metric.QUEUE_WAIT,
    Metric.ENDPOINT_TTFT,
    Metric.ENDPOINT_TBT,
)

_Counters = defaultdict[tuple[str, ...], Counter]
_Histograms = defaultdict[tuple[str, ...], Histogram]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a process holds at one moment."""

    client_connections: int = 0
    idle_engine_connections: int = 0
    active_engine_connections: int = 0
    buffered_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _End:
    """What an end of one class, model and reason is counted in."""

    requests: Counter
    good: Counter
    duration: Histogram


class Telemetry:
    """All metrics of one router.

    Everything here belongs to the thread of the event loop. What is called per request is one lookup and a few
    additions; what is called per token chunk has been looked up before (`stream`).
    """

    def __init__(self, config: RouterConfig, endpoints: Callable[[], Iterable[EndpointView]]) -> None:
        self.discovery_connected = True
        self.occupancy: Callable[[], Occupancy] = Occupancy
        """Asked at every scrape; set by whoever holds something."""
        self.loop_lag = Histogram(contract.LOOP_LAG_BUCKETS)
        self.access_log_lost: Callable[[], int] = int
        self.trace_export_failures: Callable[[], int] = int
        self.retries_withheld: Callable[[], int] = int
        """Asked at every scrape; set by whoever counts. What they return never falls."""
        self.processes: Callable[[], Processes] = Processes
        """Asked at every scrape; set by a supervisor."""
        self.gather: Callable[[], Awaitable[None]] = _nothing_to_gather
        """Awaited before every scrape; set by a supervisor, which asks its workers for what they have counted."""
        self.edges = _edges(config)
        self.workers = WorkerCounts(self.edges)
        """Counts of the workers of this process: empty where it does the work itself."""
        self.registry = CollectorRegistry()
        self.registry.register(_Scrape(self))
        self._endpoints = endpoints
        self._counters: Mapping[Metric, _Counters] = {metric: defaultdict(Counter) for metric in _COUNTED}
        self._histograms = self._new_histograms()
        self._queued: Tally[str] = Tally()
        self._use(config)

    def apply(self, config: RouterConfig) -> bool:
        """Follow a new configuration; returns whether other SLO limits made the histograms start anew."""
        edges = _edges(config)
        anew = edges != self.edges
        if anew:
            self.edges = edges
            self.workers.follow(edges)
            self._histograms = self._new_histograms()
        self._use(config)
        return anew

    @property
    def pool(self) -> str:
        """Value of the label `pool`."""
        return self._pool

    def offered(self, service_class: str) -> None:
        """Count a valid request, whatever becomes of it."""
        self._offered[self._pool, service_class].value += 1

    def queued(self, service_class: str) -> None:
        """Note a request that begins to wait for room."""
        self._queued[service_class] += 1

    def unqueued(self, service_class: str) -> None:
        """Note that it waits no more, whatever becomes of it."""
        self._queued[service_class] -= 1

    def placed(self, request: RequestView, waited_seconds: float) -> None:
        """Observe how long a request has waited for the place that it gets; for most it is no time at all."""
        key = (request.service_class, self._models.label(request.model, known=False))
        waits = self._waits.get(key) or self._wait(*key)
        if waited_seconds:
            waits.observe(waited_seconds)
        else:
            waits.counts[0] += 1

    def rejected(self, service_class: str, reason: Reason) -> None:
        """Count a request that was not placed on any engine."""
        self._counters[Metric.REQUESTS][self._pool, service_class, Verdict.REJECT, reason].value += 1

    def retried(self, reason: RetryReason) -> None:
        """Count a request that is sent once more."""
        self._counters[Metric.RETRIES][self._pool, reason].value += 1

    def taken_back(self, service_class: str) -> None:
        """Count a request that has given its place to a more urgent one."""
        self._counters[Metric.TAKEN_BACK][self._pool, service_class].value += 1

    def config_refused(self) -> None:
        """Count a configuration that was refused; the last good one stays."""
        self._counters[Metric.CONFIG_ERRORS][self._pool,].value += 1

    def ended(self, request: RequestView, outcome: Outcome, usage: Usage | None, *, known_model: bool) -> None:
        """Count a request that was placed; `known_model` says that an engine answered it well."""
        key = (request.service_class, self._models.label(request.model, known=known_model), outcome.reason)
        end = self._ends.get(key) or self._end(*key)
        end.requests.value += 1
        end.duration.observe(outcome.duration_seconds)
        if outcome.good:
            end.good.value += 1
        if usage is None:
            self._output_tokens.value += outcome.token_chunks
        else:
            self._prompt_tokens.value += usage.prompt_tokens
            self._output_tokens.value += usage.output_tokens

    def stream(self, request: RequestView, endpoint: str) -> StreamMeters:
        """Return the histograms of a stream that the engine of that name has begun to answer well."""
        key = (request.service_class, self._models.label(request.model, known=True), endpoint)
        return self._streams.get(key) or self._stream(*key)

    def snapshot(self) -> Snapshot:
        """Return everything that this process has counted, and what it holds, as plain data."""
        names = {endpoint.name for endpoint in self._endpoints()}
        self._forget_streams_elsewhere(names)
        counted: dict[str, Series] = {
            metric.value: series(((labels, (counter.value,)) for labels, counter in counters.items()))
            for metric, counters in self._counters.items()
        }
        observed: dict[str, Series] = {
            metric.value: series(((labels, (*h.counts, h.sum)) for labels, h in histograms.items()), self.edges[metric])
            for metric, histograms in self._histograms.items()
        }
        return {**counted, **observed, **self._of_process()}

    def total(self) -> Snapshot:
        """Return what this process and its workers have counted together, and the state of the pool as of now."""
        endpoints = tuple(self._endpoints())
        names = {endpoint.name for endpoint in endpoints}
        self.workers.keep(names)
        counted = merge((self.snapshot(), *self.workers.snapshots()), self.edges)
        state = state_of(self._pool, endpoints, self.processes(), discovery_connected=self.discovery_connected)
        return {**without_others(counted, names), **state}

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    async def exposed(self) -> bytes:
        """Return the same, as of now in every process, without holding up the event loop."""
        await self.gather()
        return await rendered(self.total())

    def _use(self, config: RouterConfig) -> None:
        self._pool = config.pool
        self._classes = [service_class.name for service_class in config.classes]
        self._models = ModelNames(config.models)
        self._ends: dict[tuple[str, str, Reason], _End] = {}
        self._waits: dict[tuple[str, str], Histogram] = {}
        self._streams: dict[tuple[str, str, str], StreamMeters] = {}
        self._offered = self._counters[Metric.OFFERED_REQUESTS]
        tokens = self._counters[Metric.TOKENS]
        self._prompt_tokens, self._output_tokens = tokens[self._pool, "prompt"], tokens[self._pool, "output"]
        self._counters[Metric.CONFIG_ERRORS][self._pool,].inc(0)

    def _new_histograms(self) -> Mapping[Metric, _Histograms]:
        return {metric: defaultdict(partial(Histogram, self.edges[metric])) for metric in _OBSERVED}

    def _end(self, service_class: str, model: str, reason: Reason) -> _End:
        made = self._ends[service_class, model, reason] = _End(
            self._counters[Metric.REQUESTS][self._pool, service_class, Verdict.RUN, reason],
            self._counters[Metric.GOOD_REQUESTS][self._pool, service_class],
            self._histograms[Metric.REQUEST_DURATION][self._pool, service_class, model],
        )
        return made

    def _wait(self, service_class: str, model: str) -> Histogram:
        made = self._waits[service_class, model] = self._histograms[Metric.QUEUE_WAIT][self._pool, service_class, model]
        return made

    def _stream(self, service_class: str, model: str, endpoint: str) -> StreamMeters:
        of = self._histograms
        by_class, by_endpoint = (self._pool, service_class, model), (self._pool, endpoint)
        made = self._streams[service_class, model, endpoint] = StreamMeters(
            (of[Metric.TTFT][by_class], of[Metric.TBT][by_class]),
            (of[Metric.ENDPOINT_TTFT][by_endpoint], of[Metric.ENDPOINT_TBT][by_endpoint]),
        )
        return made

    def _forget_streams_elsewhere(self, names: set[str]) -> None:
        for metric in (Metric.ENDPOINT_TTFT, Metric.ENDPOINT_TBT):
            histograms = self._histograms[metric]
            for labels in [labels for labels in histograms if labels[1] not in names]:
                del histograms[labels]
        for key in [key for key in self._streams if key[2] not in names]:
            del self._streams[key]

    def _of_process(self) -> Snapshot:
        """Return what a process has one of; it goes by the pool's present name."""
        held, lag = self.occupancy(), self.loop_lag
        one = (self._pool,)
        engine_connections = {"idle": held.idle_engine_connections, "active": held.active_engine_connections}
        return {
            Metric.QUEUE_DEPTH.value: series(
                ((self._pool, name), (self._queued[name],)) for name in dict.fromkeys((*self._classes, *+self._queued))
            ),
            Metric.LOOP_LAG.value: series([(one, (*lag.counts, lag.sum))], lag.edges),
            Metric.ACCESS_LOG_DROPPED.value: series([(one, (self.access_log_lost(),))]),
            Metric.RETRIES_WITHHELD.value: series([(one, (self.retries_withheld(),))]),
            Metric.TRACE_EXPORT_FAILURES.value: series([(one, (self.trace_export_failures(),))]),
            Metric.CLIENT_CONNECTIONS.value: series([(one, (held.client_connections,))]),
            Metric.BUFFERED_BYTES.value: series([(one, (held.buffered_bytes,))]),
            Metric.ENGINE_CONNECTIONS.value: series(
                ((self._pool, state), (number,)) for state, number in engine_connections.items()
            ),
        }


async def _nothing_to_gather() -> None:
    """Wait for nobody: a process that does all the work itself has counted everything."""


class _Scrape(Collector):
    """Collects at the moment of the scrape."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def describe(self) -> Iterable[Family]:
        """Claim no names up front; the registry would have to collect for it."""
        return ()

    def collect(self) -> Iterator[Family]:
        return families(self._telemetry.total())


def _edges(config: RouterConfig) -> Edges:
    """Buckets of TTFT and TBT: the fixed lists with the SLO limits of all classes as further edges."""
    ttft = tuple(sorted({*contract.TTFT_BUCKETS, *(seconds(c.ttft) for c in config.classes if c.ttft is not None)}))
    tbt = tuple(sorted({*contract.TBT_BUCKETS, *(seconds(c.tbt) for c in config.classes if c.tbt is not None)}))
    return {
        Metric.TTFT: ttft,
        Metric.TBT: tbt,
        Metric.ENDPOINT_TTFT: ttft,
        Metric.ENDPOINT_TBT: tbt,
        Metric.QUEUE_WAIT: ttft,
        Metric.REQUEST_DURATION: contract.DURATION_BUCKETS,
        Metric.LOOP_LAG: contract.LOOP_LAG_BUCKETS,
    }
