"""The router as its supervisor knows it: configuration, endpoints, and the sums over all workers."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from fairlead_router.config import RouterConfig
from fairlead_router.contract import BreakerState
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.journal import Question
from fairlead_router.decisions.types import EndpointView
from fairlead_router.router import Router
from fairlead_router.workers.control import Shown
from fairlead_router.workers.shared_counts import SLOTS, SharedCounts, SharedLedger
from fairlead_router.workers.slots import NoSlotError, SlotTable

logger = logging.getLogger(__name__)


class SupervisedRouter(Router):
    """A router that serves through its workers; what it follows, they follow."""

    def __init__(self, config: RouterConfig, counts: SharedCounts) -> None:
        self._counts = counts
        self._reader = SharedLedger(counts, None)
        self._slots = SlotTable(SLOTS)
        self._serving = False
        self.shown = Shown()
        """The endpoints, as workers and decider are shown them."""
        self.changed: Callable[[], None] = lambda: None
        """Called when configuration or endpoints have changed."""
        self.engines_reported: Callable[[Mapping[str, EngineReport]], None] = lambda _reports: None
        """Called with what engines say of themselves."""
        self.prediction_errors: Callable[[], Mapping[str, float]] = dict
        """Asked how well TTFTs are predicted, by uid."""
        self.breakers: Callable[[], Mapping[str, BreakerState]] = dict
        """Asked for the endpoints whose breaker is not closed, by uid."""
        self.ask_for_decisions: Callable[[Question], Awaitable[list[dict[str, Any]]]] = super().decisions
        """Asks those that decide."""
        super().__init__(config, ledger=self._reader)

    def apply(self, config: RouterConfig) -> None:
        """Follow a configuration.

        Raises
        ------
        ValueError
            Something that it asks for cannot be had; the last configuration stays.

        """
        super().apply(config)
        self.changed()

    def set_endpoints(self, endpoints: Iterable[EndpointView], *, complete: bool = True) -> None:
        """Follow what discovery found; `complete` says that it has seen the whole pool."""
        found = tuple(endpoints)
        try:
            slots = self._slots.assign((endpoint.uid for endpoint in found), self._counts.total)
        except NoSlotError:
            logger.exception("the endpoints stay as they were")
            return
        self._reader.assign(slots)
        super().set_endpoints(found, complete=complete)
        self.shown = Shown(found, slots, self.discovered)
        self.changed()

    def note_reports(self, reports: Mapping[str, EngineReport]) -> None:
        """Follow what engines say of themselves, by uid."""
        super().note_reports(reports)
        self.engines_reported(reports)

    def endpoints(self) -> tuple[EndpointView, ...]:
        """Every endpoint with the requests of all workers, as of now, its breaker and how well it is predicted."""
        breakers, errors = self.breakers(), self.prediction_errors()
        return tuple(
            replace(e, breaker=breakers.get(e.uid, e.breaker), prediction_error=errors.get(e.uid, e.prediction_error))
            for e in super().endpoints()
        )

    async def decisions(self, question: Question) -> list[dict[str, Any]]:
        """Return what was decided of the last requests, in whichever process."""
        return await self.ask_for_decisions(question)

    def not_ready_because(self) -> list[str]:
        """Say what keeps the router from being ready; empty when it is ready."""
        return [*super().not_ready_because(), *([] if self._serving else ["no worker serves"])]

    def serves(self, *, serving: bool) -> None:
        """Note whether any worker serves."""
        self._serving = serving
        self._note_ready()
