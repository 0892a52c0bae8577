"""The operator's own health, and the server that tells it.

* Live: the work loop turns. Never a question to the API server: restarting an operator does not bring that back.
* Ready: the operator leads or stands by for the lease.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

STUCK_SECONDS = 120.0
"""A loop that was not seen turning for so long is stuck: its longest step, one API request, ends after 30 s."""


@dataclass(slots=True)
class Health:
    """What the probes ask."""

    clock: Callable[[], float] = monotonic
    ready: bool = False
    last_turn_seconds: float | None = None

    def turn(self) -> None:
        """Note that the loop turns."""
        self.last_turn_seconds = self.clock()

    @property
    def live(self) -> bool:
        """Tell whether the loop turns, or has not started yet."""
        return self.last_turn_seconds is None or self.clock() - self.last_turn_seconds < STUCK_SECONDS


@asynccontextmanager
async def served(health: Health, metrics: CollectorRegistry, port: int) -> AsyncIterator[None]:
    """Serve `/health`, `/ready` and `/metrics` while the context is open.

    Raises
    ------
    OSError
        The port is taken.

    """

    async def tell_live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.live else web.Response(status=503, text="the work loop is stuck\n")

    async def tell_ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.ready else web.Response(status=503, text="starting\n")

    async def tell_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/health", tell_live), web.get("/ready", tell_ready), web.get("/metrics", tell_metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - probed by the kubelet
        yield
    finally:
        await runner.cleanup()
