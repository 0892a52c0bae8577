"""The router as its supervisor knows it: configuration, endpoints, and the sums over all workers."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fairlead_router.config import RouterConfig
from fairlead_router.contract import BreakerState
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
        self.breakers: Callable[[], Mapping[str, BreakerState]] = dict
        """Asked for the endpoints whose breaker is not closed, by uid."""
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

    def endpoints(self) -> tuple[EndpointView, ...]:
        """Every endpoint with the requests of all workers, as of now, and its breaker."""
        breakers = self.breakers()
        return tuple(replace(e, breaker=breakers.get(e.uid, e.breaker)) for e in super().endpoints())

    def not_ready_because(self) -> list[str]:
        """Say what keeps the router from being ready; empty when it is ready."""
        return [*super().not_ready_because(), *([] if self._serving else ["no worker serves"])]

    def serves(self, *, serving: bool) -> None:
        """Note whether any worker serves."""
        self._serving = serving
        self._note_ready()
