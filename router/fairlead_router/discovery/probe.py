"""Ask static endpoints for their health.

An engine at a fixed address is ready when it answers `GET /health` with a status below 500: engines without that path
answer 404, and are alive. Where nothing listens the endpoint is not ready at once; a slow or failing answer counts
only the third time, because a busy engine is not a dead one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from fairlead_router.contract import EndpointState
from fairlead_router.upstream.ask import ask
from fairlead_router.upstream.errors import ConnectError, UpstreamError
from fairlead_router.upstream.pool import Pool

READY_INTERVAL_SECONDS = 2.0
NOT_READY_INTERVAL_SECONDS = 0.5
"""Shorter, so that an engine that has started gets its first request soon."""
PROBE_SECONDS = 1.0
FAILURES_TO_NOT_READY = 3


class ProbeResult(Enum):
    """What one probe found."""

    HEALTHY = auto()
    FAILING = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Health:
    """Health of one endpoint after some probes."""

    state: EndpointState = EndpointState.NOT_READY
    failures: int = 0

    def after(self, result: ProbeResult) -> "Health":
        """Return the health after one more probe."""
        if result is ProbeResult.HEALTHY:
            return Health(EndpointState.READY)
        failures = self.failures + 1
        if result is ProbeResult.REFUSED or failures >= FAILURES_TO_NOT_READY:
            return Health(EndpointState.NOT_READY, failures)
        return Health(self.state, failures)


async def probe(pool: Pool, address: str) -> ProbeResult:
    """Ask once."""
    try:
        answer = await ask(pool, address, "/health", seconds=PROBE_SECONDS)
    except ConnectError:
        return ProbeResult.REFUSED
    except (UpstreamError, TimeoutError):
        return ProbeResult.FAILING
    return ProbeResult.HEALTHY if answer.status < 500 else ProbeResult.FAILING


async def watch_health(pool: Pool, address: str, report: Callable[[EndpointState], None]) -> None:
    """Probe for ever; report the state after every probe."""
    health = Health()
    while True:
        health = health.after(await probe(pool, address))
        report(health.state)
        ready = health.state is EndpointState.READY
        await asyncio.sleep(READY_INTERVAL_SECONDS if ready else NOT_READY_INTERVAL_SECONDS)
