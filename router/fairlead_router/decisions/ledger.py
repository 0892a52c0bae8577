"""What runs where: an account of every endpoint, and the seam to counts that other processes share.

A decision looks at `Account.in_flight`, the requests that run on an endpoint. For a process that does all the work
itself these are its own (`OwnLedger`). With several workers each has a ledger that also reads the others' counts; it
is an edge, and lives elsewhere.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol

from fairlead_router.contract import EndpointState
from fairlead_router.decisions.breaker import Breaker
from fairlead_router.decisions.types import EndpointView

_GONE: Final = EndpointState.GONE


class Account:
    """An endpoint as discovery last showed it, what runs there, and its breaker."""

    __slots__ = ("breaker", "endpoint", "in_flight", "own", "uid")

    def __init__(self, endpoint: EndpointView, breaker: Breaker) -> None:
        self.uid = endpoint.uid
        self.endpoint = endpoint
        self.breaker = breaker
        self.own = 0
        """Requests in flight that this process has placed."""
        self.in_flight = 0
        """Requests in flight as decisions see them: those of all processes that share a ledger."""

    @property
    def over(self) -> bool:
        """Whether discovery has lost the endpoint and nothing runs there any more."""
        return self.endpoint.state is _GONE and not self.own and not self.in_flight

    def view(self, now: float) -> EndpointView:
        """Return what others may know of it."""
        return replace(self.endpoint, in_flight=self.in_flight, breaker=self.breaker.state(now))


class Ledger(Protocol):
    """Keeps `Account.in_flight`."""

    def note(self, account: Account) -> None:
        """Take over `account.own`, which has changed."""
        ...

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Bring `in_flight` of the accounts up to date."""
        ...


class OwnLedger:
    """The ledger of a process that does all the work itself."""

    def note(self, account: Account) -> None:
        """Nobody else has requests there."""
        account.in_flight = account.own

    def refresh(self, accounts: Iterable[Account]) -> None:
        """Nothing changes behind this ledger's back."""
