"""Connections to engines, kept for the next request."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from fairlead_router.deadlines import Deadlines
from fairlead_router.upstream.connection import KEEPALIVE_SECONDS, EngineConnection
from fairlead_router.upstream.errors import ConnectError

Connected = Callable[[EngineConnection | ConnectError], None]


class EngineTlsContext(Protocol):
    """TLS towards engines; both change when its files do."""

    context: ssl.SSLContext
    server_name: str | None


class Connecting:
    """An attempt to connect; somebody waits for it until `forget`."""

    __slots__ = ("_connected",)

    def __init__(self, connected: Connected) -> None:
        self._connected: Connected | None = connected

    def forget(self) -> None:
        """Wait no more; the connection, once made, is kept for another request."""
        self._connected = None

    def done(self, result: EngineConnection | ConnectError) -> bool:
        """Report the result; returns whether somebody wanted it."""
        connected, self._connected = self._connected, None
        if connected is None:
            return False
        connected(result)
        return True


class Pool:
    """The connections of one event loop to all engines; the most recently used is used first."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        tls: Callable[[], EngineTlsContext | None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._tls = tls
        self._idle: dict[str, list[EngineConnection]] = {}
        self._open: set[EngineConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def counts(self) -> Counter[str]:
        """Open connections by what they do: `idle` or `active`."""
        idle = sum(map(len, self._idle.values()))
        return Counter(idle=idle, active=len(self._open) - idle)

    def take(self, address: str) -> EngineConnection | None:
        """Return an idle connection to `host:port`, if there is one."""
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            self._deadlines.discard(connection)
            if not connection.closing:
                return connection
        return None

    def connect(self, address: str, seconds: float, connected: Connected) -> Connecting:
        """Open a connection within `seconds`, and report it or why there is none."""
        connecting = Connecting(connected)
        task = self._loop.create_task(self._connect(address, seconds, connecting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return connecting

    def released(self, connection: EngineConnection) -> None:
        """Keep a connection for the next request."""
        connection.deadline = self._loop.time() + KEEPALIVE_SECONDS
        self._deadlines.add(connection)
        self._idle.setdefault(connection.address, []).append(connection)

    def lost(self, connection: EngineConnection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._deadlines.discard(connection)
        idle = self._idle.get(connection.address)
        if idle and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.address, None)

    async def aclose(self) -> None:
        """Close every connection, and stop connecting."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abandon()
        await asyncio.sleep(0)  # the loop closes aborted connections in its next round

    async def _connect(self, address: str, seconds: float, connecting: Connecting) -> None:
        host, _, port = address.rpartition(":")
        tls = self._tls()
        try:
            async with asyncio.timeout(seconds):
                _, connection = await self._loop.create_connection(
                    lambda: EngineConnection(address, self),
                    host.strip("[]"),
                    int(port),
                    ssl=tls.context if tls else None,
                    server_hostname=(tls.server_name or host.strip("[]")) if tls else None,
                )
        except TimeoutError:
            connecting.done(ConnectError(f"no connection to {address} within {seconds:g} s"))
        except OSError as error:  # TLS errors are among them
            connecting.done(ConnectError(f"no connection to {address}: {error}"))
        else:
            self._use(connection, connecting)

    def _use(self, connection: EngineConnection, connecting: Connecting) -> None:
        """Hand a new connection over, or keep it where nobody waits for it any more."""
        if connection.closing:
            connecting.done(ConnectError(f"{connection.address} closed the connection at once"))
            return
        self._open.add(connection)
        if not connecting.done(connection):
            self.released(connection)
