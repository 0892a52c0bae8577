"""Serve both ports in one loop, and stop in the order that loses no answer.

On SIGTERM or SIGINT: not ready, and 503 for what still arrives on open connections; no new connections; running
requests end by themselves or, after the shutdown timeout or at a second signal, by an error event; then idle connections are closed. The
admin port stays until the data port is done, so that the drain can be watched.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Literal

import uvicorn

from fairlead_router.data_path import DataPath
from fairlead_router.relay.services import Services
from fairlead_router.router import Router

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 75
"""Longer than the pools of usual clients keep idle connections, so that the client closes first."""
LAST_WORDS_SECONDS = 10
"""What connections get for their last bytes once nothing runs any more."""
_POLL_SECONDS = 0.05


class PortTakenError(Exception):
    """The port cannot be bound because something else listens there."""


class HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: two of them share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening address; port 0 takes a free one.

    Raises
    ------
    PortTakenError
        Something else listens there.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where it is told that the protocol is TCP; without, small answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port} is taken on {host}") from error
        raise
    return listener


async def serve(
    router: Router,
    data_path: DataPath,
    listener: socket.socket,
    admin: tuple[Any, socket.socket],
    *,
    shutdown_timeout: float,
    on_ready: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT and until what runs then has ended; calls `on_ready` once, when ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    relayed = data_path.services

    def on_signal() -> None:
        if stop.is_set():
            relayed.interrupt_all()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    data_server, admin_server = http_server(data_path.app, data_path.http), http_server(admin[0])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(admin_server.serve(sockets=[admin[1]]))
        data_task = tasks.create_task(data_server.serve(sockets=[listener]))
        await _started(admin_server)
        await _started(data_server)
        announcing = tasks.create_task(_announce(router, on_ready))
        await stop.wait()
        announcing.cancel()
        router.shutting_down = True
        logger.info("stopping: %d requests run", relayed.running)
        for each in data_server.servers:
            each.close()
        await _drain(relayed, shutdown_timeout)
        data_server.should_exit = True
        await data_task
        admin_server.should_exit = True


def http_server(app: Any, http: type[asyncio.Protocol] | Literal["httptools"] = "httptools") -> HttpServer:
    """Return a server for an ASGI app behind a protocol; it serves the sockets that it is given."""
    return HttpServer(
        uvicorn.Config(
            app,
            http=http,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEPALIVE_SECONDS,
            timeout_graceful_shutdown=LAST_WORDS_SECONDS,
        )
    )


async def _started(server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(_POLL_SECONDS)


async def _announce(router: Router, on_ready: Callable[[], None]) -> None:
    await router.ready.wait()
    on_ready()


async def _drain(relayed: Services, shutdown_timeout: float) -> None:
    """Wait for running requests; end those that take longer."""
    try:
        async with asyncio.timeout(shutdown_timeout):
            await relayed.idle.wait()
    except TimeoutError:
        logger.warning("%d requests run after %g s: ending them", relayed.running, shutdown_timeout)
        relayed.interrupt_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await relayed.idle.wait()
