"""Gauges read at the moment of the scrape, so that an endpoint that is gone leaves no series behind."""

from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from fairlead_router.contract import BreakerState, EndpointState, Metric, TelemetryState
from fairlead_router.decisions.types import EndpointView
from fairlead_router.telemetry.snapshot import Snapshot, series

_VERSION = version("fairlead")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a router, as its one admin port sees them; by default there is one, which does everything."""

    workers: int = 1
    """Those that serve users."""
    decider_connected: bool = True
    """Whether all of them are connected with the decider."""
    worker_deaths: int = 0
    decider_deaths: int = 0


def state_of(
    pool: str, endpoints: Iterable[EndpointView], processes: Processes, *, discovery_connected: bool
) -> Snapshot:
    """Describe the endpoints, discovery, the router's processes and the build."""
    running, shown = _by_name(endpoints)
    return {
        Metric.IN_FLIGHT.value: series(((pool, name), (running[name],)) for name in shown),
        Metric.ENDPOINT_STATE.value: series(
            ((pool, name, each), (float(endpoint.state is each),))
            for name, endpoint in shown.items()
            for each in EndpointState
        ),
        Metric.ENDPOINT_BREAKER.value: series(
            ((pool, name, each), (float(endpoint.breaker is each),))
            for name, endpoint in shown.items()
            for each in BreakerState
        ),
        Metric.ENDPOINT_TELEMETRY.value: series(
            ((pool, name, each), (float(endpoint.telemetry is each),))
            for name, endpoint in shown.items()
            for each in TelemetryState
        ),
        Metric.ENDPOINT_KV_USAGE.value: series(
            ((pool, name), (endpoint.kv_usage,)) for name, endpoint in shown.items() if endpoint.kv_usage is not None
        ),
        Metric.PREDICTION_ERROR.value: series(
            ((pool, name), (endpoint.prediction_error,)) for name, endpoint in shown.items()
        ),
        Metric.DISCOVERY_CONNECTED.value: series([((pool,), (float(discovery_connected),))]),
        Metric.DECIDER_CONNECTED.value: series([((pool,), (float(processes.decider_connected),))]),
        Metric.WORKERS.value: series([((pool,), (processes.workers,))]),
        Metric.PROCESS_DEATHS.value: series(
            [((pool, "worker"), (processes.worker_deaths,)), ((pool, "decider"), (processes.decider_deaths,))]
        ),
        Metric.BUILD_INFO.value: series([((_VERSION,), (1.0,))]),
    }


def _by_name(endpoints: Iterable[EndpointView]) -> tuple[Tally[str], dict[str, EndpointView]]:
    """Sum requests in flight, and find the endpoint, by name.

    A pod that is gone may share its name with its successor, which is the one that is shown.
    """
    running: Tally[str] = Tally()
    shown: dict[str, EndpointView] = {}
    for endpoint in endpoints:
        running[endpoint.name] += endpoint.in_flight
        if endpoint.name not in shown or endpoint.state is not EndpointState.GONE:
            shown[endpoint.name] = endpoint
    return running, shown
