"""Look at a few endpoints of a large pool: weighing a thousand would take longer than the choice is worth.

The best of 48 is nearly as good as the best of all (two random choices take most of the way: Mitzenmacher, 2001), and 48
that change with every request are fair to all. Endpoints that have the prompt cached are looked at whatever their turn is.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import nlargest
from operator import attrgetter
from typing import Final, TypeVar

from fairlead_router.decisions.types import NOTHING_CACHED, Candidate

C = TypeVar("C", bound=Candidate)

MOST_WEIGHED: Final = 64
"""A pool of so many is looked at whole."""
_WIDTH: Final = 48
_MOST_CACHED: Final = 8
_uid = attrgetter("uid")


class Window:
    """Moves on with every look."""

    def __init__(self) -> None:
        self._at = 0

    def of(self, endpoints: Sequence[C], cached: Mapping[str, int] = NOTHING_CACHED) -> Sequence[C]:
        """Return a few of the endpoints, which come in order of uid, in that order; all where they are few."""
        number = len(endpoints)
        if number <= MOST_WEIGHED:
            return endpoints
        at = self._at % number
        self._at = at + _WIDTH
        beyond = max(0, at + _WIDTH - number)
        seen = [*endpoints[:beyond], *endpoints[at : at + _WIDTH]]
        if cached:
            known = {each.uid for each in seen}
            for uid in nlargest(_MOST_CACHED, cached, key=cached.__getitem__):
                place = bisect_left(endpoints, uid, key=_uid)
                if uid not in known and place < number and endpoints[place].uid == uid:
                    seen.append(endpoints[place])
            seen.sort(key=_uid)
        return seen
