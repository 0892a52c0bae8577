"""Which requests a canary gets: engines of a new revision are tried with a share of the requests.

A request belongs to the canary or to all others by its session or else its own id, so that a conversation stays on one side
and every process decides alike. Where one side has no engine, the other takes its requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.types import RequestView

A = TypeVar("A", bound=Account)
_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Canary:
    """Engines of a `revision`, and the share of the requests that they get, from 0 to 1."""

    revision: str
    share: float

    def wants(self, request: RequestView) -> bool:
        """Whether the canary gets a request."""
        of = request.request_id if request.session is None else str(request.session)
        return crc32(of.encode()) % _PARTS < self.share * _PARTS

    def side_of(self, request: RequestView, candidates: Sequence[A]) -> Sequence[A]:
        """Return the candidates on the request's side, or all where there are none."""
        wanted = self.wants(request)
        side = [each for each in candidates if (each.endpoint.revision == self.revision) is wanted]
        return side or candidates
