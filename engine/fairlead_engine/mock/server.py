"""The mock engine's process: uvicorn, the batch loop, and how both end.

On SIGTERM or SIGINT new requests are refused and `/health` turns 503, while the port stays open: a probe then reads why.
Running requests get `shutdown_timeout_seconds`; what is left after that is cut. A second signal cuts it at once.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from fairlead_engine.contract import ENGINE_ID_HEADER
from fairlead_engine.mock.app import build_app
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.fault_edge import Protocol

logger = logging.getLogger(__name__)

_LAST_WRITES_SECONDS = 2
"""What a client has to take the end of its answer from us; one that reads nothing must not keep the process alive."""


def listen(host: str, port: int, *, refusing: bool = False) -> socket.socket:
    """Bind a listening socket; port 0 is any free one. OSError when the address cannot be had.

    `refusing` keeps the port without listening: connections are refused until the server starts.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if not refusing:
            listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class Shutdown:
    """How an engine is asked to stop: the first `request` lets running requests end, the second cuts them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Ask the engine to stop."""
        core = self._engine.core
        if self._requested.is_set():
            logger.info("cutting %d requests", core.running + core.waiting)
            self._engine.abort_all()
            return
        seconds = self._engine.settings.shutdown_timeout_seconds
        logger.info("stopping; %d requests have %g s to end", core.running + core.waiting, seconds)
        self._engine.accepting = False
        self._requested.set()

    async def drained(self) -> None:
        """Return when the engine was asked to stop and has ended or cut its last request."""
        await self._requested.wait()
        try:
            async with asyncio.timeout(self._engine.settings.shutdown_timeout_seconds):
                await self._engine.idle()
        except TimeoutError:
            self._engine.abort_all()


async def serve(
    engine: Engine, listener: socket.socket, shutdown: Shutdown, *, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve `engine` on `listener` until `shutdown` or a signal; `on_ready` is called once requests are served."""
    await asyncio.sleep(engine.faults.start_delay_seconds)
    app = build_app(engine)
    server = _HttpServer(app, engine.settings.engine_id, shutdown, on_ready)

    async def stop_when_drained() -> None:
        await shutdown.drained()
        app.release()
        server.should_exit = True

    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(engine.run()), tasks.create_task(stop_when_drained())]
        await server.serve(sockets=[listener])
        for task in background:
            task.cancel()


class _HttpServer(uvicorn.Server):
    """uvicorn, with signals that ask for a shutdown instead of closing the port at once."""

    def __init__(self, app: ASGIApp, engine_id: str, shutdown: Shutdown, on_ready: Callable[[], None]) -> None:
        logging.getLogger("uvicorn.error").addFilter(_is_not_a_cut_stream)
        config = uvicorn.Config(
            app,
            http=Protocol,
            backlog=2048,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=logging.getLogger("uvicorn.access").isEnabledFor(logging.DEBUG),
            headers=[(ENGINE_ID_HEADER, engine_id)],
            timeout_graceful_shutdown=_LAST_WRITES_SECONDS,
        )
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._shutdown = shutdown
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self._loop.call_soon_threadsafe(self._shutdown.request)


def _is_not_a_cut_stream(record: logging.LogRecord) -> bool:
    """Drop uvicorn's error for an application that ends in mid-stream: here that is how a cut stream ends."""
    return record.msg != "ASGI callable returned without completing response."
