"""Wiring of the data path: everything between the sockets of clients and those of engines, in one event loop."""

import asyncio
from random import Random
from types import TracebackType
from typing import Any, Self, cast

from fairlead_router.app import data_app
from fairlead_router.deadlines import Deadlines
from fairlead_router.edge.edge import Edge
from fairlead_router.edge.protocol import EdgeProtocol
from fairlead_router.models import Models
from fairlead_router.relay.services import Services
from fairlead_router.router import Router
from fairlead_router.upstream.pool import Pool


class DataPath:
    """Async context manager; while it is open, its protocols serve clients."""

    def __init__(self, router: Router, *, random: Random, access_log: bool = False) -> None:
        self.deadlines = Deadlines()
        self.pool = Pool(asyncio.get_running_loop(), self.deadlines)
        self.services = Services(router, self.pool, self.deadlines, random=random, access_log=access_log)
        self.app = data_app(router, Models(router, self.pool))
        self.edge = Edge(self.services, self.deadlines, self.app)
        self._sweeping: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.get_running_loop().create_task(self.deadlines.run())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._sweeping.cancel()
        await asyncio.wait([self._sweeping])
        await self.pool.aclose()

    @property
    def http(self) -> type[asyncio.Protocol]:
        """What uvicorn makes of every connection; passed as its setting `http`."""
        return cast("type[asyncio.Protocol]", self._protocol)

    def _protocol(self, *, server_state: Any, **_: Any) -> EdgeProtocol:
        # uvicorn closes these connections and waits for these tasks when it stops.
        self.edge.connections = server_state.connections
        self.edge.tasks = server_state.tasks
        return EdgeProtocol(self.edge)
