"""Appointments: who is refused, and comes back when it was told to, finds room.

A refusal says when to come back. If it says what it takes until the queue has moved on, everybody comes back at once, with
whoever comes for the first time, and most are refused again. So it is an appointment: those of one tenant and class follow
one another as fast as the pool works for them, and whoever comes for the first time meanwhile is admitted only to what is
left beside those that are expected - or refused, with an appointment behind theirs. That is a queue of which nobody waits
in the router: as fair as one, and as long as a client can be told to stay away.

How many come back shows: as large a share of the appointments as was kept of late is expected to be. Where nobody comes back
nothing is held for anybody.

A client does not say that it comes back. A request is taken for the one that was refused if it is of the same tenant and
class, for the same model, and has the same size and fingerprint.
"""

from collections import deque
from collections.abc import Hashable
from math import ceil, inf
from typing import Final

from fairlead_router.decisions.types import Demand, RequestView

MOST_RETRY_AFTER_SECONDS: Final = 30
GRACE_SECONDS: Final = 5.0
"""How late somebody may be: clients add something at random, and networks too."""
_EARLY_SECONDS: Final = 0.1
"""Nobody who does what was said comes earlier, but for the resolution of timers."""
_FILLED: Final = 0.9
"""Share of the pool's rate for which appointments are made: the rate is an estimate."""
_SWEEP_SECONDS: Final = 10.0
"""Between two looks at the books of those who may never come again."""
_KEPT_WEIGHT: Final = 0.05
"""Of one appointment in the share of them that is kept."""
_MOST: Final = 50_000
"""Appointments; beyond, clients are told a time and nothing is noted."""


class _Slot:
    __slots__ = ("at", "kept", "key", "tokens")

    def __init__(self, key: Hashable, at: float, tokens: int) -> None:
        self.key = key
        self.at = at
        self.tokens = tokens
        self.kept = False


class _Book:
    """The appointments of one tenant in one class, in the order of their time."""

    __slots__ = ("next_at", "of_key", "slots", "tokens")

    def __init__(self) -> None:
        self.next_at = -inf
        """When what was promised so far is done."""
        self.tokens = 0
        """Of appointments that may still be kept."""
        self.slots: deque[_Slot] = deque()
        self.of_key: dict[Hashable, deque[_Slot]] = {}


class Appointments:
    """Those of one pool."""

    def __init__(self) -> None:
        self.number = 0
        """Those that are noted."""
        self._books: dict[tuple[str, str], _Book] = {}
        self._swept_at = -inf
        self._kept = 0.0
        """Share that is kept, as of late: nobody is expected before somebody has come."""

    def make(self, demand: Demand, tokens_per_second: float, not_before: float, now: float) -> int:
        """Return after how many seconds a request that is refused should come back; 0 tokens per second are not known."""
        earliest = max(0.0, not_before - now)
        if tokens_per_second <= 0.0:
            return _whole(earliest)
        name = demand.request.tenant, demand.request.service_class
        book = self._books.get(name) or _Book()
        start = max(now + earliest, book.next_at)
        seconds = _whole(start - now)
        if start - now > MOST_RETRY_AFTER_SECONDS or self.number >= _MOST:
            return seconds
        self._books[name] = book
        book.next_at = start + demand.tokens / (_FILLED * tokens_per_second)
        slot = _Slot(_key(demand.request), now + seconds, demand.tokens)
        book.slots.append(slot)
        book.of_key.setdefault(slot.key, deque()).append(slot)
        book.tokens += slot.tokens
        self.number += 1
        return seconds

    def keep(self, request: RequestView, now: float) -> bool:
        """Whether a request that has just come has an appointment: it has none then any more."""
        if now - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = now
            for other, theirs in [*self._books.items()]:
                self._expire(other, theirs, now)
        name = request.tenant, request.service_class
        book = self._books.get(name)
        if book is None:
            return False
        self._expire(name, book, now)
        slots = book.of_key.get(_key(request))
        if not slots or now < slots[0].at - _EARLY_SECONDS:
            return False
        slot = slots.popleft()
        if not slots:
            del book.of_key[slot.key]
        slot.kept = True
        book.tokens -= slot.tokens
        self._kept += _KEPT_WEIGHT * (1.0 - self._kept)
        return True

    def expected_tokens(self, request: RequestView, tokens_per_second: float, until: float, now: float) -> float:
        """Return the tokens of requests that are expected until a moment, and go before one that comes unexpected."""
        name = request.tenant, request.service_class
        book = self._books.get(name)
        if book is None:
            return 0.0
        self._expire(name, book, now)
        return self._kept * min(book.tokens, max(0.0, until - now) * _FILLED * tokens_per_second)

    def _expire(self, name: tuple[str, str], book: _Book, now: float) -> None:
        """Forget those that nobody keeps any more."""
        slots = book.slots
        while slots and (slots[0].kept or slots[0].at + GRACE_SECONDS < now):
            slot = slots.popleft()
            self.number -= 1
            if not slot.kept:
                of_key = book.of_key[slot.key]
                of_key.popleft()
                if not of_key:
                    del book.of_key[slot.key]
                book.tokens -= slot.tokens
                self._kept -= _KEPT_WEIGHT * self._kept
        if not slots:
            del self._books[name]


def _key(request: RequestView) -> Hashable:
    size = request.prompt_bytes if request.prompt_tokens is None else request.prompt_tokens
    return request.model, request.session, size, request.max_output_tokens, request.fingerprint


def _whole(seconds: float) -> int:
    return max(1, min(MOST_RETRY_AFTER_SECONDS, ceil(seconds)))
