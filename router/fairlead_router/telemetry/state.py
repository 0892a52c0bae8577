"""Gauges read at the moment of the scrape, so that an endpoint that is gone leaves no series behind."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family

from fairlead_router.contract import EndpointState, Metric
from fairlead_router.decisions.types import EndpointView


def state_families(pool: str, endpoints: Iterable[EndpointView], *, discovery_connected: bool) -> Iterator[Family]:
    """Describe the endpoints, discovery and the build."""
    in_flight = GaugeMetricFamily(Metric.IN_FLIGHT, "Requests placed and not ended.", labels=("pool", "endpoint"))
    state = GaugeMetricFamily(
        Metric.ENDPOINT_STATE, "1 for the state an endpoint is in.", labels=("pool", "endpoint", "state")
    )
    running, states = _by_name(endpoints)
    for name, current in states.items():
        in_flight.add_metric((pool, name), running[name])
        for each in EndpointState:
            state.add_metric((pool, name, each), float(current is each))
    connected = GaugeMetricFamily(
        Metric.DISCOVERY_CONNECTED, "0 while discovery works with its last view.", labels=("pool",)
    )
    connected.add_metric((pool,), float(discovery_connected))
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
