"""Policies that send prompts that begin alike to the same endpoint, whose prefix cache then saves their prefill."""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import Final
from zlib import crc32

from fairlead_router.decisions.policies.policy import C, Choice, Rotation
from fairlead_router.decisions.types import Demand

_PLACES: Final = 64
"""Of an endpoint on the ring: more spread its share of the prompts more evenly."""
MOST_LOAD: Final = 1.25
"""Above so many times the mean load an endpoint is passed over, as in KubeAI."""
_RING: Final = 2**32
_SPREAD: Final = 0x9E3779B1
"""2^32 over the golden ratio: multiplying by it spreads numbers that are close to each other."""


class PrefixHash:
    """Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018) of a prompt's first block.

    From the prompt's place on a ring onwards, the first endpoint whose load stays within 1.25 times the mean. A prompt
    without a full block goes in turn.
    """

    weighs = False

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation
        self._uids: Sequence[str] = ()
        self._ring: list[tuple[int, int]] = []

    def choose(self, demand: Demand, candidates: Sequence[C]) -> Choice[C]:
        """Choose by the prompt's beginning."""
        prefix = demand.request.prefix
        if not prefix:
            return Choice(self._rotation.pick(candidates))
        uids = [each.uid for each in candidates]
        if uids != self._uids:
            self._uids, self._ring = uids, _ring_of(uids)
        # Not every endpoint can be above the mean, so one of them is found.
        most = ceil(MOST_LOAD * (sum(each.in_flight for each in candidates) + 1) / len(candidates))
        ring, at = self._ring, bisect_left(self._ring, (prefix[0] * _SPREAD % _RING, 0))
        onwards = (candidates[ring[(at + place) % len(ring)][1]] for place in range(len(ring)))
        return Choice(next(each for each in onwards if each.in_flight < most))


def _ring_of(uids: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of endpoints on the ring, in order: where, and which."""
    return sorted(
        (crc32(f"{uid}/{place}".encode()), index) for index, uid in enumerate(uids) for place in range(_PLACES)
    )
