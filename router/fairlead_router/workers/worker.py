"""A worker: `python -m fairlead_router.workers.worker SETTINGS`, started by the supervisor.

A worker is a whole data path with a ledger of its own. Configuration and endpoints come from the supervisor, decisions
from the decider. When the supervisor dies, its workers finish what runs, and end.
"""

import asyncio
import logging
import socket
import sys
from dataclasses import dataclass
from random import Random

import orjson
import prometheus_client
import uvloop

from fairlead_router.data_path import DataPath
from fairlead_router.events import first_of
from fairlead_router.process import leave_to_parent_what_terminals_say, set_up_logging
from fairlead_router.router import Router
from fairlead_router.server import bind, serve_data, stop_on_signals
from fairlead_router.workers.control import (
    REPORT_SECONDS,
    Report,
    Shown,
    Tell,
    config_in,
    decisions_told,
    reports_in,
    tripped,
)
from fairlead_router.workers.link import Link, Message
from fairlead_router.workers.remote_decider import RemoteDecider
from fairlead_router.workers.shared_counts import SharedCounts, SharedLedger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the supervisor says at the start, and what does not change after it."""

    control: int
    """Descriptor of the link to the supervisor."""
    counts: int
    """Descriptor of the shared counts."""
    worker: int
    """Number of this worker: its row."""
    workers: int
    """How many there are."""
    decider: str
    """Abstract address of the decider."""
    host: str
    port: int
    shutdown_timeout: float
    log_level: str


class Worker:
    """Follows the supervisor, and serves until it says stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = SharedLedger(SharedCounts(settings.counts, settings.workers), settings.worker)
        self._stop = asyncio.Event()
        self._configured = asyncio.Event()
        self._router: Router | None = None
        self._remote: RemoteDecider
        self._data_path: DataPath | None = None
        self._control = Link(self._receive, self._supervisor_lost)

    async def run(self) -> None:
        """Serve until the end."""
        settings = self._settings
        stop_on_signals(self._stop, again=self._interrupt)
        await self._control.attach(socket.socket(fileno=settings.control))
        await first_of(self._configured, self._stop)
        if self._router is not None:
            await self._serve(self._router)
        self._control.close()

    async def _serve(self, router: Router) -> None:
        settings = self._settings
        listener = bind(settings.host, settings.port, shared=True)
        async with DataPath(router, random=Random()) as data_path, asyncio.TaskGroup() as tasks:  # noqa: S311 - ids
            self._data_path = data_path
            background = [
                tasks.create_task(self._remote.run(settings.decider.encode("latin-1"))),
                tasks.create_task(self._report_for_ever(router)),
            ]
            await serve_data(
                router,
                data_path,
                listener,
                self._stop,
                shutdown_timeout=settings.shutdown_timeout,
                on_started=lambda: self._control.send((Tell.READY.value,)),
            )
            for task in background:
                task.cancel()
        self._report(router)

    def _receive(self, message: Message) -> None:
        match message[0]:
            case Tell.CONFIG:
                self._follow(message)
            case Tell.ENDPOINTS if self._router is not None:
                shown = Shown.of(message)
                self._ledger.assign(shown.slots)
                self._router.set_endpoints(shown.endpoints, complete=shown.complete)
            case Tell.REPORT if self._router is not None:
                self._report(self._router)
            case Tell.ENGINES if self._router is not None:
                self._router.note_reports(reports_in(message))
            case Tell.DECISIONS if self._router is not None:
                self._control.send(decisions_told(message, self._router.journal))
            case Tell.STOP:
                self._stop.set()
            case Tell.INTERRUPT:
                self._interrupt()

    def _follow(self, message: Message) -> None:
        config = config_in(message)
        if self._router is None:
            router = self._router = Router(config, ledger=self._ledger)
            self._remote = RemoteDecider(router.decider, router.clock, Random())  # noqa: S311 - spreads load
            router.placing = self._remote
            router.apply(config)
            self._configured.set()
            return
        try:
            self._router.apply(config)
        except ValueError as error:
            self._router.refuse_config("the configuration from the supervisor", error)

    def _interrupt(self) -> None:
        if self._data_path is not None:
            self._data_path.services.interrupt_all()

    def _supervisor_lost(self) -> None:
        if not self._stop.is_set():
            logger.error("the supervisor is gone: finishing what runs")
            self._stop.set()

    def _report(self, router: Router) -> None:
        breakers = tripped(router.endpoints())
        snapshot = router.telemetry.snapshot()
        asks = self._remote.decider_pid if self._remote.connected else None
        self._control.send(Report(breakers, snapshot=snapshot, asks=asks).message())

    async def _report_for_ever(self, router: Router) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._report(router)


async def _run(settings: Settings) -> None:
    await Worker(settings).run()


def main() -> None:
    """Run the process."""
    settings = Settings(**orjson.loads(sys.argv[1]))
    leave_to_parent_what_terminals_say()
    set_up_logging(settings.log_level, f"worker-{settings.worker}")
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


if __name__ == "__main__":
    main()
