"""Wiring of the data path: everything between the sockets of clients and those of engines, in one event loop."""

import asyncio
import sys
from random import Random
from types import TracebackType
from typing import Any, Self, cast

from fairlead_router.access_log import AccessLog
from fairlead_router.app import data_app
from fairlead_router.config import RouterConfig
from fairlead_router.deadlines import Deadlines
from fairlead_router.edge.edge import Edge
from fairlead_router.edge.protocol import EdgeProtocol
from fairlead_router.following import Following
from fairlead_router.lag import LagMeter
from fairlead_router.line_writer import LineWriter
from fairlead_router.models import Models
from fairlead_router.relay.services import Services
from fairlead_router.router import Router
from fairlead_router.telemetry.telemetry import Occupancy
from fairlead_router.tracing import Tracing
from fairlead_router.upstream.pool import Pool


class DataPath:
    """Async context manager; while it is open, its protocols serve clients."""

    def __init__(self, router: Router, *, random: Random) -> None:
        """Read what the configuration points to.

        Raises
        ------
        ValueError
            Something of it cannot be used.

        """
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines()
        self.following = Following(router)
        self.pool = Pool(loop, self.deadlines, lambda: self.following.client_tls)
        self.access_log = AccessLog(LineWriter(sys.stdout.fileno()), random)
        self.tracing = Tracing(router.replica)
        self.services = Services(router, self.pool, self.deadlines, self.access_log, random=random)
        self.app = data_app(router, Models(router, self.pool))
        self.edge = Edge(self.services, self.deadlines, self.app)
        self._router = router
        self._lag = LagMeter(router.telemetry.loop_lag.observe)
        self._sweeping: asyncio.Task[None]
        self._follow(router.config)

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.get_running_loop().create_task(self.deadlines.run())
        telemetry = self._router.telemetry
        telemetry.occupancy = self.occupancy
        telemetry.access_log_lost = lambda: self.access_log.lost
        telemetry.trace_export_failures = lambda: self.tracing.export_failures
        self._router.followers.append(self._follow)
        self.following.start()
        self._lag.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._lag.stop()
        self._sweeping.cancel()
        await asyncio.wait([self._sweeping])
        await self.following.aclose()
        await self.pool.aclose()
        self.access_log.close()
        self.tracing.close()

    @property
    def http(self) -> type[asyncio.Protocol]:
        """What uvicorn makes of every connection; passed as its setting `http`."""
        return cast("type[asyncio.Protocol]", self._protocol)

    def occupancy(self) -> Occupancy:
        """Return what this process holds now."""
        engines = self.pool.counts
        return Occupancy(
            client_connections=len(self.edge.connections),
            idle_engine_connections=engines["idle"],
            active_engine_connections=engines["active"],
            buffered_bytes=self.services.buffered_bytes,
        )

    def _follow(self, config: RouterConfig) -> None:
        self.tracing.apply(config.tracing, config.pool)  # the one that may refuse comes first
        self.services.tracer = self.tracing.tracer
        self.access_log.apply(config.access_log)

    def _protocol(self, *, server_state: Any, **_: Any) -> EdgeProtocol:
        # uvicorn closes these connections and waits for these tasks when it stops.
        self.edge.connections = server_state.connections
        self.edge.tasks = server_state.tasks
        return EdgeProtocol(self.edge)
