"""The guard around what timers, sweeps and decisions call: a fault of the router ends one request, and nothing else."""

import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError

logger = logging.getLogger(__name__)


class Guarded(Protocol):
    """Something of one request."""

    @property
    def over(self) -> bool: ...  # noqa: D102 - whether the request has ended
    def fail(self, error: RequestError) -> None: ...  # noqa: D102 - end it


S = TypeVar("S", bound=Guarded)
P = ParamSpec("P")


def fault() -> RequestError:
    """Return what a client is told of a fault of the router."""
    return RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log")


def guarded(step: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Call a step of a request that is not over; a fault in it is logged, and ends the request."""

    def guarded_step(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.over:
            return
        try:
            step(self, *args, **kwargs)
        except Exception:
            logger.exception("fault while relaying a request")
            self.fail(fault())

    guarded_step.__doc__ = step.__doc__
    return guarded_step
