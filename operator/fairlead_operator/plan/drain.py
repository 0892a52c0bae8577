"""Two-phase drain: when an engine that is to go may be deleted.

Only routers know what runs on an engine, and SIGTERM ends streams that outlast the engine's shutdown. So an engine
is first marked (an annotation on its pod, with the time), routers send it nothing new from the moment they see that,
and it is deleted when every router that lives says so and has nothing in flight there. What a router that cannot be
asked has in flight is not known, which is not zero: the engine waits for it too.

Every wait ends at `drain.timeout` after the mark, whatever runs there then. The mark is the whole memory of a drain: an
operator that starts in the middle of one goes on with it, and one that wrote the mark twice waits no longer for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_operator.types import Engine, Removal, RouterReport

NOTICE_SECONDS = 2.0
"""Least time between mark and deletion: the processes of one router learn of a mark one after the other, and one may
have placed a request in the moment in which another said that there was none."""

FIRST_LOOK_SECONDS = 1.0
LAST_LOOK_SECONDS = 10.0
LOOKS_PER_LENGTH = 10.0
"""Routers are asked again after a tenth of the time that the drain has taken so far: an engine stays at most so much
longer than it must, and a long drain costs tens of questions and not hundreds."""


@dataclass(frozen=True, slots=True)
class Drain:
    """An engine that drains, and what is known of it."""

    engine: Engine
    in_flight: int
    """Requests that run there by the routers that could be asked."""
    doubts: tuple[str, ...]
    """Routers that may have more, each with the reason."""
    since_seconds: float
    until_seconds: float
    """When it is deleted at the latest."""


def in_flight(routers: Sequence[RouterReport]) -> dict[str, int]:
    """Add up what runs on each engine, by uid, as far as routers could be asked."""
    sums: dict[str, int] = {}
    for router in routers:
        for uid, placed in router.engines.items():
            sums[uid] = sums.get(uid, 0) + placed.in_flight
    return sums


def drains(
    engines: Sequence[Engine], routers: Sequence[RouterReport], timeout_seconds: float, now_seconds: float
) -> list[Drain]:
    """Give the drains that go on. One whose mark does not tell a time that has been is not among them: see `misdated`."""
    running = in_flight(routers)
    return [
        Drain(
            engine=engine,
            in_flight=running.get(engine.uid, 0),
            doubts=_doubts(engine, routers),
            since_seconds=since,
            until_seconds=since + timeout_seconds,
        )
        for engine in engines
        if (since := engine.draining_since_seconds) is not None and since <= now_seconds
        if not engine.terminating and not engine.ended
    ]


def _doubts(engine: Engine, routers: Sequence[RouterReport]) -> tuple[str, ...]:
    if not engine.addressed:
        return ()
    return tuple(doubt for router in routers if (doubt := _doubt(engine.uid, router)))


def _doubt(uid: str, router: RouterReport) -> str:
    if router.trouble:
        return f"{router.router} cannot be asked: {router.trouble}"
    placed = router.engines.get(uid)
    return "" if placed is not None and placed.draining else f"{router.router} does not know yet"


def misdated(engines: Sequence[Engine], now_seconds: float) -> list[Removal]:
    """Give the engines to be marked anew: their mark would never come to its end, or at a time that nobody knows."""
    return [
        Removal(engine, "its mark did not tell since when")
        for engine in engines
        if engine.draining_since_seconds is not None and engine.draining_since_seconds > now_seconds
        if not engine.terminating and not engine.ended
    ]


def drained(going_on: Sequence[Drain], now_seconds: float) -> list[Removal]:
    """Give the engines that are to be deleted now."""
    return [removal for drain in going_on if (removal := _removal(drain, now_seconds))]


def _removal(drain: Drain, now_seconds: float) -> Removal | None:
    noticed = now_seconds >= drain.since_seconds + NOTICE_SECONDS
    if noticed and not drain.in_flight and not drain.doubts:
        return Removal(drain.engine, "nothing runs there any more")
    if now_seconds >= drain.until_seconds:
        left = [f"{drain.in_flight} in flight", *drain.doubts] if drain.in_flight else drain.doubts
        why = f"drain.timeout is over ({'; '.join(left) or 'routers had no time to see the mark'})"
        return Removal(drain.engine, why, cuts=True)
    return None


def look_again_seconds(going_on: Sequence[Drain], now_seconds: float) -> float | None:
    """Give the time after which routers should be asked again; None where nothing drains."""
    return min((_wait_seconds(drain, now_seconds) for drain in going_on), default=None)


def _wait_seconds(drain: Drain, now_seconds: float) -> float:
    taken_seconds, left_seconds = now_seconds - drain.since_seconds, drain.until_seconds - now_seconds
    wait_seconds = max(FIRST_LOOK_SECONDS, min(LAST_LOOK_SECONDS, taken_seconds / LOOKS_PER_LENGTH))
    return min(wait_seconds, left_seconds) if left_seconds > 0 else wait_seconds
