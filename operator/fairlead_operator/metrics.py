"""The operator's own metrics."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fairlead_operator.contract import Metric


class Metrics:
    """Instruments of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            Metric.RECONCILES, "Reconciles by how they ended.", ["result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            Metric.RECONCILE_SECONDS, "Time of one reconcile, writes included.", registry=self.registry
        )
        self.writes = Counter(
            Metric.WRITES, "Writes to the API server by kind and verb.", ["kind", "verb"], registry=self.registry
        )
        self.queue_depth = Gauge(Metric.QUEUE_DEPTH, "Pools that wait for a reconcile.", registry=self.registry)
        self.pools = Gauge(Metric.POOLS, "Pools that the operator knows.", registry=self.registry)
        self.leader = Gauge(Metric.LEADER, "1 while this operator holds the lease.", registry=self.registry)
        self.last_resync = Gauge(Metric.LAST_RESYNC, "When everything was last listed.", registry=self.registry)
        build = Gauge(Metric.BUILD_INFO, "Always 1; the version is a label.", ["version"], registry=self.registry)
        build.labels(version("fairlead")).set(1)
