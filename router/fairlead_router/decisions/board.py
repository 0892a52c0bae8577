"""The endpoints that may get a request, side by side: what a decision weighs of them, in columns.

A decision looks at all of them, and nearly all are as they were at the last one. So a column is kept, and only what has
changed is worked out anew, once somebody looks; scoring is then a pass over numbers.
"""

from collections.abc import Iterable, Sequence

from fairlead_router.decisions.ledger import Account, Standing
from fairlead_router.decisions.price import Price, price_of
from fairlead_router.decisions.speed import Speed
from fairlead_router.decisions.types import Candidate


class Board(list[Account]):
    """Endpoints in their order, which stays; they tell the board of their changes."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        super().__init__(accounts)
        self.uids = [account.uid for account in self]
        self._standings = [account.standing for account in self]
        self._prices: list[Price] = []
        self._common: Speed | None = None  # that the prices were worked out with
        self._unpriced: set[int] = set()
        """Places of those that have changed since somebody last looked at prices."""
        self.changed: list[Account] = []
        """Since somebody last looked."""
        for place, account in enumerate(self):
            account.stands(place, self)

    @property
    def prices(self) -> Sequence[Price]:
        """What another request costs on each; as long as nothing changes."""
        if self.changed:
            self._follow()
        common = self[0].pace.common if self else None
        if self._common is not common:
            self._common = common
            self._prices = [price_of(account.load, account.pace, account.limits) for account in self]
        else:
            for place in self._unpriced:
                account = self[place]
                self._prices[place] = price_of(account.load, account.pace, account.limits)
        self._unpriced.clear()
        return self._prices

    @property
    def standings(self) -> Sequence[Standing]:
        """What there is on each; as long as nothing changes."""
        if self.changed:
            self._follow()
        return self._standings

    def _follow(self) -> None:
        for account in self.changed:
            self._standings[account.place] = account.standing
            self._unpriced.add(account.place)
            account.followed = True
        self.changed.clear()


def prices_of(candidates: Sequence[Candidate]) -> tuple[Sequence[str], Sequence[Price]]:
    """Return the uids of some endpoints, and what another request costs on each."""
    if isinstance(candidates, Board):
        return candidates.uids, candidates.prices
    return [each.uid for each in candidates], [each.price for each in candidates]


def standings_of(accounts: Sequence[Account]) -> list[Standing]:
    """Return some endpoints as they are now."""
    return list(accounts.standings if isinstance(accounts, Board) else [each.standing for each in accounts])
