"""Time the chunks of one stream that carry tokens."""

from fairlead_router.decisions.types import Ticket
from fairlead_router.router import Router
from fairlead_router.telemetry import StreamMeters
from fairlead_router.tracing import Trace


class StreamClock:
    """For the ledger and the histograms alike: TTFT once, then every gap."""

    __slots__ = ("_begun", "_clock", "_first_byte", "_meters", "_ticket", "_trace")

    def __init__(self, router: Router, ticket: Ticket, meters: StreamMeters, trace: Trace) -> None:
        self._clock = router.clock
        self._first_byte = router.placing.first_byte
        self._ticket = ticket
        self._meters = meters
        self._trace = trace
        self._begun = False

    def tokens(self, chunks: int) -> float:
        """Note `chunks` that arrived now and together; returns the time."""
        now, ticket = self._clock(), self._ticket
        if self._begun:
            self._meters.gap(ticket.further_tokens(chunks, now), chunks)
            return now
        self._begun = True
        self._meters.first(ticket.first_token(now))
        self._first_byte(ticket)
        self._trace.first_token()
        if chunks > 1:
            self._meters.gap(ticket.further_tokens(chunks - 1, now), chunks - 1)
        return now
