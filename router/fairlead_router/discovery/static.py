"""Engines at fixed addresses, from flags or a configuration file."""

import asyncio
import logging

from fairlead_router.config import StaticEndpoint
from fairlead_router.contract import EndpointState
from fairlead_router.decisions.types import EndpointView
from fairlead_router.discovery.probe import watch_health
from fairlead_router.router import Router
from fairlead_router.upstream.pool import Pool

logger = logging.getLogger(__name__)


class StaticDiscovery:
    """Probes the configured endpoints and shows them to the router; runs inside a task group."""

    def __init__(self, router: Router, pool: Pool, tasks: asyncio.TaskGroup) -> None:
        self._router = router
        self._pool = pool
        self._tasks = tasks
        self._configured: dict[str, StaticEndpoint] = {}
        self._states: dict[str, EndpointState] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}

    def follow(self, endpoints: tuple[StaticEndpoint, ...]) -> None:
        """Replace the endpoints; one that stays keeps its state."""
        found = {endpoint.uid: endpoint for endpoint in endpoints}
        for uid, endpoint in self._configured.items():
            if uid not in found or found[uid].address != endpoint.address:
                self._probes.pop(uid).cancel()
                self._states.pop(uid, None)
        self._configured = found
        for uid, endpoint in found.items():
            if uid not in self._probes:
                self._probes[uid] = self._tasks.create_task(self._probe(endpoint))
        self._show()

    def close(self) -> None:
        """Stop probing."""
        for task in self._probes.values():
            task.cancel()

    async def _probe(self, endpoint: StaticEndpoint) -> None:
        def report(state: EndpointState) -> None:
            if self._states.get(endpoint.uid) is not state:
                logger.info("engine %s at %s: %s", endpoint.uid, endpoint.address, state)
                self._states[endpoint.uid] = state
                self._show()

        await watch_health(self._pool, endpoint.address, report)

    def _show(self) -> None:
        """Give the router what is known; it counts as discovered when every endpoint was probed once."""
        views = [
            EndpointView(
                uid=uid,
                address=endpoint.address,
                state=self._state(endpoint),
                name=uid,
                revision=endpoint.revision,
                role=endpoint.role,
            )
            for uid, endpoint in self._configured.items()
        ]
        self._router.set_endpoints(views, complete=self._states.keys() >= self._configured.keys())

    def _state(self, endpoint: StaticEndpoint) -> EndpointState:
        return EndpointState.DRAINING if endpoint.draining else self._states.get(endpoint.uid, EndpointState.NOT_READY)
