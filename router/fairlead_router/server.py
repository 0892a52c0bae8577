"""Serve the ports, and stop in the order that loses no answer.

On SIGTERM or SIGINT: not ready, and 503 for what still arrives on open connections; no new connections; running
requests end by themselves or, after the shutdown timeout or at a second signal, by an error event; then idle
connections are closed. The admin port stays until the data port is done, so that the drain can be watched.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import uvicorn

from fairlead_router import garbage
from fairlead_router.data_path import DataPath
from fairlead_router.events import first_of
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
    """uvicorn without its own signal handling: two of them share a process. With `tls`, it serves https."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(config)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        self.config.ssl = self._tls  # a context that follows its files, where uvicorn would read them once
        await super().startup(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a listening address; port 0 takes a free one. A `shared` one can be bound by several sockets of this user.

    Raises
    ------
    PortTakenError
        Something else listens there.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where it is told that the protocol is TCP; without, small answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(f"port {port} is taken on {host}") from error
        raise
    return listener


def hold(host: str, port: int) -> socket.socket:
    """Bind an address for the workers of this user, which bind it again and listen; port 0 takes a free one.

    Raises
    ------
    PortTakenError
        Something else has it.

    """
    if port:
        bind(host, port).close()  # another router with workers would let us share its port
    return bind(host, port, shared=True)


async def serve(
    router: Router,
    data_path: DataPath,
    listener: socket.socket,
    admin: tuple[Any, socket.socket],
    *,
    shutdown_timeout: float,
    on_ready: Callable[[], None],
) -> None:
    """Serve both ports until SIGTERM or SIGINT and until what runs then has ended; calls `on_ready` once, when ready."""
    stop = asyncio.Event()
    stop_on_signals(stop, again=data_path.services.interrupt_all)
    async with serving_admin(*admin), asyncio.TaskGroup() as tasks:
        announcing: set[asyncio.Task[None]] = set()
        await serve_data(
            router,
            data_path,
            listener,
            stop,
            shutdown_timeout=shutdown_timeout,
            on_started=lambda: announcing.add(tasks.create_task(announce(router, on_ready))),
        )
        for task in announcing:
            task.cancel()


async def serve_data(
    router: Router,
    data_path: DataPath,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    shutdown_timeout: float,
    on_started: Callable[[], None],
) -> None:
    """Serve clients until `stop` is set and until what runs then has ended; calls `on_started` when it listens.

    It listens once the configuration and its files have been read: nobody is spoken to by plain HTTP, or let in without
    a key, because a file came late.
    """
    await first_of(data_path.following.read, stop)
    if stop.is_set():
        return
    tls = data_path.following.server_tls
    relayed = data_path.services
    server = http_server(data_path.app, data_path.http, tls.context if tls else None)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        await _started(server)
        garbage.settle()
        on_started()
        await stop.wait()
        router.shutting_down = True
        logger.info("stopping: %d requests run", len(relayed.running))
        for each in server.servers:
            each.close()
        await _drain(relayed, shutdown_timeout)
        server.should_exit = True


@contextlib.asynccontextmanager
async def serving_admin(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the admin port meanwhile."""
    server = http_server(app)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        await _started(server)
        yield
        server.should_exit = True


def stop_on_signals(stop: asyncio.Event, again: Callable[[], None]) -> None:
    """Set `stop` at SIGTERM or SIGINT; call `again` at every further one."""

    def on_signal() -> None:
        if stop.is_set():
            again()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


async def announce(router: Router, on_ready: Callable[[], None]) -> None:
    """Call `on_ready` when the router has become ready."""
    await router.ready.wait()
    on_ready()


def http_server(
    app: Any,
    http: type[asyncio.Protocol] | Literal["httptools"] = "httptools",
    tls: ssl.SSLContext | None = None,
) -> HttpServer:
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
        ),
        tls,
    )


async def _started(server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(_POLL_SECONDS)


async def _drain(relayed: Services, shutdown_timeout: float) -> None:
    """Wait for running requests; end those that take longer."""
    try:
        async with asyncio.timeout(shutdown_timeout):
            await relayed.idle.wait()
    except TimeoutError:
        logger.warning("%d requests run after %g s: ending them", len(relayed.running), shutdown_timeout)
        relayed.interrupt_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await relayed.idle.wait()
