"""What all relayed requests of a process share, and the account of those that run."""

import asyncio
import logging
from collections.abc import Callable, Set
from random import Random
from typing import Protocol

from fairlead_router.contract import Reason
from fairlead_router.deadlines import Deadlines, Timed
from fairlead_router.decisions.types import Decision, Outcome, RequestView, Ticket
from fairlead_router.relay.usage import Usage
from fairlead_router.router import Router
from fairlead_router.upstream.pool import Pool

access_logger = logging.getLogger("fairlead_router.access")


class Running(Timed, Protocol):
    """A relayed request, as far as the account goes."""

    request: RequestView
    outcome: Outcome | None
    endpoint_name: str | None

    @property
    def usage(self) -> Usage | None: ...  # noqa: D102 - token counts, where the engine reported them
    @property
    def status(self) -> int: ...  # noqa: D102 - the engine's; 0 before it has answered
    def interrupt(self, reason: Reason) -> None: ...  # noqa: D102 - end it


class Services:
    """One per event loop."""

    def __init__(self, router: Router, pool: Pool, deadlines: Deadlines, *, random: Random, access_log: bool) -> None:
        self.router = router
        self.telemetry = router.telemetry
        self.pool = pool
        self.loop = asyncio.get_running_loop()
        self.random = random
        self.buffered_bytes = 0
        """Bodies of requests that are held, of all requests together."""
        self.idle = asyncio.Event()
        """Set while no request is being relayed."""
        self.idle.set()
        self._deadlines = deadlines
        self._running: set[Running] = set()
        self._access_log = access_log

    @property
    def running(self) -> int:
        """Requests that are being relayed."""
        return len(self._running)

    def interrupt_all(self) -> None:
        """End every running request: the router cannot wait for it."""
        for exchange in tuple(self._running):
            exchange.interrupt(Reason.SHUTTING_DOWN)

    def place(self, request: RequestView, tried: Set[str], decided: Callable[[Decision], None]) -> None:
        """Ask for a place, and report the decision, now or later."""
        decided(self.router.decider.submit(request, self.router.clock(), tried))

    def end(self, ticket: Ticket, reason: Reason, status: int) -> Outcome:
        """Give a place back; `status` is the engine's, 0 where it has not answered."""
        return self.router.decider.end(ticket, reason, self.router.clock())

    def retry_wait(self, retries: int) -> float | None:
        """Return the seconds to wait before another retry, or None where there must be none."""
        return 0.0 if retries + 1 < self.router.config.retries.attempts else None

    def began(self, exchange: Running) -> None:
        """Note a request that is valid and will be placed if possible."""
        self.telemetry.offered(exchange.request.service_class)
        self._running.add(exchange)
        self._deadlines.add(exchange)
        self.idle.clear()

    def ended(self, exchange: Running, reason: Reason) -> None:
        """Account for a request that has ended."""
        self._running.discard(exchange)
        self._deadlines.discard(exchange)
        if not self._running:
            self.idle.set()
        request, outcome = exchange.request, exchange.outcome
        if outcome is None:
            self.telemetry.rejected(request.service_class, reason)
        else:
            known = 0 < exchange.status < 300
            self.telemetry.ended(request, outcome, exchange.usage, known_model=known)
