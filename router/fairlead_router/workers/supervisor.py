"""The supervisor of a router with several workers.

It serves no user. It holds the port, follows configuration and endpoints, and tells its children: the workers, each a
whole data path on the one port, and the decider, which they ask. It answers on the admin port for all of them, and
starts again whichever dies. What runs where it reads from the shared counts, so it needs nobody's help to say it.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, Final

from fairlead_router.config import RouterConfig
from fairlead_router.contract import BreakerState
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.journal import Question
from fairlead_router.events import first_of
from fairlead_router.server import LAST_WORDS_SECONDS
from fairlead_router.telemetry import Processes
from fairlead_router.workers import decider, worker
from fairlead_router.workers.child import Child
from fairlead_router.workers.control import Report, Tell, asks_for_decisions, config_message, reports_message
from fairlead_router.workers.link import Message
from fairlead_router.workers.shared_counts import SharedCounts
from fairlead_router.workers.supervised_router import SupervisedRouter

logger = logging.getLogger(__name__)

_ENDING_SECONDS: Final = 2 * LAST_WORDS_SECONDS + 5.0
"""What workers get on top of the shutdown timeout before they are killed: their last words, and time to end."""
_GATHER_SECONDS: Final = 0.5
"""What workers get to answer a scrape; of one that does not, the last report counts."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How the workers serve."""

    host: str
    port: int
    workers: int
    shutdown_timeout: float
    log_level: str


class _Asking:
    """A question to several children."""

    def __init__(self, children: int) -> None:
        self.decisions: list[dict[str, Any]] = []
        self.answered = asyncio.Event()
        self._silent = children

    def take(self, decisions: list[dict[str, Any]]) -> None:
        """Take an answer."""
        self.decisions += decisions
        self._silent -= 1
        if not self._silent:
            self.answered.set()


class Supervisor:
    """Starts the children, and follows their lives; lives in one event loop."""

    def __init__(self, config: RouterConfig, serving: Serving) -> None:
        self._serving = serving
        self._descriptor = SharedCounts.create(serving.workers)
        self._counts = SharedCounts(self._descriptor, serving.workers)
        self._deciding = _listen()
        self._workers = [self._worker(number) for number in range(serving.workers)]
        self._decider = self._the_decider()
        self._stop: asyncio.Event
        self._reports: dict[Child, Report] = {}
        self._unheard: set[Child] = set()
        self._heard = asyncio.Event()
        self._questions = 0
        self._asking: dict[int, _Asking] = {}
        self._configured = asyncio.Event()  # before, there is nothing to tell children
        self._all_served = False  # at some time; a router that has begun goes on with any worker
        self.failure: str | None = None
        """Why the router cannot serve at all."""
        self.router = SupervisedRouter(config, self._counts)
        self.router.changed = self._tell_all
        self.router.breakers = self._breakers
        self.router.prediction_errors = lambda: self._reports.get(self._decider, Report()).prediction_errors
        self.router.engines_reported = self._tell_reports
        self.router.telemetry.processes = self._processes
        self.router.telemetry.gather = self._gather
        self.router.ask_for_decisions = self._decisions

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the children running until `stop` is set, and until they have ended then; a `failure` sets it."""
        self._stop = stop
        try:
            await first_of(self._configured, stop)
            if not stop.is_set():
                await self._run_children()
        finally:
            self._deciding.close()
            os.close(self._descriptor)

    async def _run_children(self) -> None:
        stop = self._stop
        async with asyncio.TaskGroup() as tasks:

            def start(child: Child) -> asyncio.Task[None]:
                return tasks.create_task(child.run(self._started, self._receive, self._died))

            working = [start(child) for child in self._workers]
            deciding = start(self._decider)
            await stop.wait()
            self.router.shutting_down = True
            await self._end(self._workers, working, self._serving.shutdown_timeout + _ENDING_SECONDS)
            await self._end([self._decider], [deciding], _ENDING_SECONDS)

    def interrupt(self) -> None:
        """Let the workers end what still runs."""
        for child in self._workers:
            child.send((Tell.INTERRUPT.value,))

    # The lives of children.

    def _worker(self, number: int) -> Child:
        serving = self._serving
        settings = worker.Settings(
            control=-1,
            counts=self._descriptor,
            worker=number,
            workers=serving.workers,
            decider=self._deciding.getsockname().decode("latin-1"),
            host=serving.host,
            port=serving.port,
            shutdown_timeout=serving.shutdown_timeout,
            log_level=serving.log_level,
        )
        return Child(f"worker {number}", worker.__name__, asdict(settings), [self._descriptor])

    def _the_decider(self) -> Child:
        listener = self._deciding.fileno()
        settings = decider.Settings(control=-1, listener=listener, log_level=self._serving.log_level)
        return Child("the decider", decider.__name__, asdict(settings), [listener])

    def _started(self, child: Child) -> None:
        self._tell(child)

    def _died(self, child: Child) -> None:
        if not child.was_ready and not self._stop.is_set():
            self.failure = f"{child.name} ended before it was ready; its log says why"
            self._stop.set()
        self._reports.pop(child, None)
        self._note_heard(child)
        if child is not self._decider:
            number = self._workers.index(child)
            self._counts.clear(number)
            self.router.telemetry.workers.lost(number)
            self._note_serving()

    def _note_serving(self) -> None:
        ready = [child.ready for child in self._workers]
        self._all_served = self._all_served or all(ready)
        self.router.serves(serving=self._all_served and any(ready))

    async def _end(self, children: list[Child], running: list["asyncio.Task[None]"], seconds: float) -> None:
        for child in children:
            child.stop()
        _, late = await asyncio.wait(running, timeout=seconds)
        for child, task in zip(children, running, strict=True):
            if task in late:
                logger.error("%s has not ended within %g s: killing it", child.name, seconds)
                child.kill()

    # What is said to them, and by them.

    def _tell(self, child: Child) -> None:
        child.send(config_message(self.router.config))
        child.send(self.router.shown.message())

    def _tell_all(self) -> None:
        if self.router.config_loaded:
            self._configured.set()
        for child in (self._decider, *self._workers):  # the decider first: it answers the others
            self._tell(child)

    def _tell_reports(self, reports: Mapping[str, EngineReport]) -> None:
        message = reports_message(reports)
        for child in (self._decider, *self._workers):
            child.send(message)

    def _receive(self, child: Child, message: Message) -> None:
        match message[0]:
            case Tell.READY:
                child.becomes_ready()
                self._note_serving()
            case Tell.REPORT:
                report = self._reports[child] = Report.of(message)
                if child is not self._decider:
                    self.router.telemetry.workers.update(self._workers.index(child), report.snapshot)
                self._note_heard(child)
            case Tell.DECISIONS:
                _, number, decisions = message
                if number in self._asking:
                    self._asking[number].take(decisions)

    # What the admin port says of them.

    async def _gather(self) -> None:
        self._unheard = {child for child in (*self._workers, self._decider) if child.ready}
        self._heard.clear()
        for child in self._unheard:
            child.send((Tell.REPORT.value,))
        if self._unheard:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._heard.wait()

    async def _decisions(self, question: Question) -> list[dict[str, Any]]:
        """Ask the decider, and workers that may have decided by themselves."""
        ready = [child for child in (*self._workers, self._decider) if child.ready]
        self._questions = number = self._questions + 1
        asking = self._asking[number] = _Asking(len(ready))
        for child in ready:
            child.send(asks_for_decisions(number, question))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await asking.answered.wait()
        del self._asking[number]
        newest = sorted(asking.decisions, key=itemgetter("time"), reverse=True)
        return newest if question.request_id is not None else newest[: question.last]

    def _note_heard(self, child: Child) -> None:
        self._unheard.discard(child)
        if not self._unheard:
            self._heard.set()

    def _breakers(self) -> Mapping[str, BreakerState]:
        """Return what the decider knows of the breakers, and what workers know that decide by themselves."""
        workers = (self._reports.get(child, Report()) for child in self._workers)
        known = [self._reports.get(self._decider, Report()), *(each for each in workers if not self._asks(each))]
        return {
            uid: state
            for which in (BreakerState.HALF_OPEN, BreakerState.OPEN)
            for report in known
            for uid, state in report.breakers.items()
            if state is which
        }

    def _asks(self, report: Report) -> bool:
        """Whether a worker asks the decider that lives: it may have yet to miss the one before."""
        return self._decider.ready and report.asks == self._decider.pid

    def _processes(self) -> Processes:
        return Processes(
            workers=sum(child.ready for child in self._workers),
            decider_connected=all(self._asks(self._reports.get(child, Report())) for child in self._workers),
            worker_deaths=sum(child.deaths for child in self._workers),
            decider_deaths=self._decider.deaths,
        )


def _listen() -> socket.socket:
    """Listen for workers on an abstract address, which the system chooses and which leaves no file behind."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen()
    return listener
