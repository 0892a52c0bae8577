"""Time the chunks of one stream that carry tokens."""

from collections.abc import Callable

from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import Ticket
from fairlead_router.telemetry import StreamMeters


class StreamClock:
    """For the ledger and the histograms alike: TTFT once, then every gap."""

    __slots__ = ("_begun", "_clock", "_decider", "_meters", "_ticket")

    def __init__(self, clock: Callable[[], float], decider: Decider, ticket: Ticket, meters: StreamMeters) -> None:
        self._clock = clock
        self._decider = decider
        self._ticket = ticket
        self._meters = meters
        self._begun = False

    def tokens(self, chunks: int) -> None:
        """Note `chunks` that arrived now and together."""
        now = self._clock()
        if self._begun:
            self._meters.gap(self._decider.progress(self._ticket, chunks, now), chunks)
            return
        self._begun = True
        self._meters.first(self._decider.first_byte(self._ticket, now))
        if chunks > 1:
            self._meters.gap(self._decider.progress(self._ticket, chunks - 1, now), chunks - 1)
