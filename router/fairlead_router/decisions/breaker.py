"""Circuit breaker of one endpoint: a gate in front of it, which opens while it fails.

    closed -> (failures in a row, or one refusal) -> open -> (time) -> half-open: one request tries it
       ^------------------------ it answers -----------------------------------|
                                       open, for twice as long <- it fails ----|

"Open" is the electrician's word: nothing passes. A refused connection opens the breaker at once, because nobody
listens there: an engine that is gone has the fewest requests of all, and would get every new one. Everything else has
to happen several times in a row, because a request can be the reason why an engine fails.

The breaker only advises. When every endpoint is open, requests go to one of them all the same: an engine that may fail
is better than an answer that surely does. Such a request counts as a trial if it succeeds.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from fairlead_router.contract import BreakerState, Reason

MAX_OPEN_SECONDS: Final = 60.0
"""Longest time between two trials: what a user should wait at most for an engine that is back."""

_ABOUT_THE_REQUEST: Final = frozenset({501, 505})
"""Statuses of the 5xx that say what is wrong with the request, not with the engine."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """`config.Breaker` in numbers."""

    failures: int = 5
    open_seconds: float = 5.0


class Sign(Enum):
    """What the end of a request says of its endpoint."""

    ANSWERED = auto()
    """It works."""
    FAILED = auto()
    """It may not."""
    REFUSED = auto()
    """Nobody is there."""
    NONE = auto()
    """Nothing: the end was not its doing, or came in the middle of an answer, whose length has many reasons."""


# What nearly every end is; a member of an enumeration costs more to look up than to compare with.
_COMPLETED: Final = Reason.COMPLETED
_ANSWERED: Final = Sign.ANSWERED


def sign_of(reason: Reason, status: int) -> Sign:
    """Read an end; `status` is the engine's, 0 where it has not answered."""
    if reason is _COMPLETED:
        return _ANSWERED
    if reason is Reason.ENGINE_UNREACHABLE and not status:
        return Sign.REFUSED
    if reason is Reason.FIRST_BYTE_TIMEOUT or (reason is Reason.ENGINE_DISCONNECTED and not status):
        return Sign.FAILED
    if status >= 500 and status not in _ABOUT_THE_REQUEST:
        return Sign.FAILED
    if status and reason is not Reason.ENGINE_DISCONNECTED:
        return Sign.ANSWERED
    return Sign.NONE


class Breaker:
    """`now` is always seconds of one monotonic clock."""

    __slots__ = ("_failures", "_open_seconds", "_settings", "_trial_at", "_trying")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0  # in a row
        self._open_seconds = 0.0  # how long the breaker opens; 0 while it is closed
        self._trial_at = 0.0  # when the next request may try
        self._trying = False

    def use(self, settings: BreakerSettings) -> None:
        """Follow other settings from the next failure on."""
        self._settings = settings

    @property
    def tripped(self) -> bool:
        """Whether it is not closed."""
        return self._open_seconds > 0.0

    @property
    def trial_at(self) -> float:
        """When the next request may try the endpoint; of no meaning while the breaker is closed."""
        return self._trial_at

    @property
    def worried(self) -> bool:
        """Whether an answer of the endpoint would change anything."""
        return self._failures > 0 or self._open_seconds > 0.0

    def state(self, now: float) -> BreakerState:
        """Return the state that others are shown."""
        if not self.tripped:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._trying or now >= self._trial_at else BreakerState.OPEN

    def advises(self, now: float) -> bool:
        """Whether the endpoint should get a request while there are others."""
        return not self.tripped or now >= self._trial_at

    def placed(self, now: float) -> bool:
        """Note that the endpoint gets a request; returns whether it is a trial.

        Until the result is there, or as long as the breaker was open before, no other request should try: one that
        hangs must not keep the endpoint out for good.
        """
        if not self.tripped:
            return False
        if now >= self._trial_at:
            self._trying = True
            self._trial_at = now + self._open_seconds
        return True

    def learn(self, sign: Sign, now: float, *, trial: bool) -> None:
        """Learn from the end of a request; only trials tell anything while the breaker is not closed."""
        if self.tripped and not trial:
            return
        match sign:
            case Sign.ANSWERED:
                self._close()
            case Sign.FAILED | Sign.REFUSED if self.tripped:
                self._trial_failed(now)
            case Sign.REFUSED:
                self._open(self._settings.open_seconds, now)
            case Sign.FAILED:
                self._failures += 1
                if self._failures >= self._settings.failures:
                    self._open(self._settings.open_seconds, now)
            case Sign.NONE if self._trying:
                self._trying = False
                self._trial_at = now

    def _trial_failed(self, now: float) -> None:
        if self._trying:  # else the request was sent although the breaker was open, and says nothing new
            self._open(max(self._open_seconds, min(2 * self._open_seconds, MAX_OPEN_SECONDS)), now)

    def _open(self, seconds: float, now: float) -> None:
        self._open_seconds = seconds
        self._trial_at = now + seconds
        self._trying = False

    def _close(self) -> None:
        self._failures = 0
        self._open_seconds = 0.0
        self._trying = False
