"""A decider in this process: when it looks at what waits, and that it never does so inside of something else."""

import asyncio
import time
from random import Random

import pytest

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.rules import QueueLimits
from fairlead_router.decisions.types import Decision, EndpointView, Placement, RequestView
from fairlead_router.local_decider import SETTLED_AT_A_TIME, LocalDecider

NOBODY: frozenset[str] = frozenset()


class Asker:
    """A request, and what it was told; one that `ends_at_once` gives its place back as soon as it has it."""

    def __init__(self, pool: "Pool", *, ends_at_once: bool = False) -> None:
        self.request = RequestView("r", "m", "c", time.monotonic())
        self.is_queued = False
        self.decision: Decision | None = None
        self._pool = pool
        self._ends_at_once = ends_at_once

    def queued(self) -> None:
        self.is_queued = True

    def recalled(self) -> None:
        raise AssertionError("no class is above another here")

    def decided(self, decision: Decision) -> None:
        assert self.decision is None
        self.decision = decision
        self._pool.told += 1
        if self._ends_at_once and isinstance(decision, Placement):
            self._pool.end(self)


class Pool:
    """One endpoint with room for one request."""

    def __init__(self, wait_seconds: float = 60.0) -> None:
        self.decider = Decider(
            POLICIES["round-robin"](Random(0)), admission=Admission({}, QueueLimits(wait_seconds=wait_seconds))
        )
        self.placing = LocalDecider(self.decider, time.monotonic)
        self.told = 0
        self.grow(1)

    def grow(self, room: int) -> None:
        limits = EngineLimits(max_num_seqs=room)
        self.decider.set_endpoints([EndpointView("a", "a:1", EndpointState.READY, "a", limits=limits)])
        self.placing.look_again()

    def ask(self, **how: bool) -> Asker:
        asker = Asker(self, **how)
        asker.decision = self.placing.submit(asker.request, NOBODY, asker)
        return asker

    def end(self, asker: Asker) -> None:
        assert isinstance(asker.decision, Placement)
        self.placing.end(asker.decision.ticket, Reason.COMPLETED, 200)


@pytest.fixture
async def pool():
    return Pool()


async def turn() -> None:
    """Let the event loop do what is due."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_who_waits_is_told_in_another_turn_than_the_end_that_made_room(pool):
    first, second = pool.ask(), pool.ask()
    assert second.is_queued
    pool.end(first)
    assert second.decision is None
    await turn()
    assert isinstance(second.decision, Placement)


async def test_ends_that_follow_one_another_are_not_nested(pool, kit):
    first = pool.ask()
    others = [pool.ask(ends_at_once=True) for _ in range(3000)]  # deeper than Python would go
    pool.end(first)
    await kit.until(lambda: pool.told == 3000, "each has had its turn")
    assert all(isinstance(each.decision, Placement) for each in others)


async def test_streams_are_not_held_up_by_a_long_queue(pool, kit):
    pool.ask()
    for _ in range(3 * SETTLED_AT_A_TIME + 1):
        pool.ask()
    pool.grow(1000)
    seen = [0]
    while pool.told < 3 * SETTLED_AT_A_TIME + 1:
        await asyncio.sleep(0)
        assert pool.told - seen[-1] <= SETTLED_AT_A_TIME
        seen.append(pool.told)


async def test_who_has_given_up_is_told_nothing(pool):
    first, gone, stays = pool.ask(), pool.ask(), pool.ask()
    pool.placing.cancel(gone.request)
    pool.end(first)
    await turn()
    assert gone.decision is None
    assert isinstance(stays.decision, Placement)


async def test_giving_up_twice_or_without_waiting_does_nothing(pool):
    first, gone = pool.ask(), pool.ask()
    for request in (gone.request, gone.request, first.request):
        pool.placing.cancel(request)
    await turn()
    assert pool.told == 0


async def test_time_alone_ends_a_wait(kit):
    pool = Pool(wait_seconds=0.02)
    pool.ask()
    second = pool.ask()
    await kit.until(lambda: second.decision is not None, "its patience is over")
    assert second.decision.reason is Reason.QUEUE_TIMEOUT


@pytest.fixture
async def timers(monkeypatch):
    """Timers that were set."""
    found: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(*how: object) -> asyncio.TimerHandle:
        found.append(call_later(*how))
        return found[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    return found


async def test_nothing_is_set_to_wake_a_decider_at_which_nobody_waits(pool, timers):
    first, second = pool.ask(), pool.ask()
    pool.end(first)
    await turn()
    assert isinstance(second.decision, Placement)
    assert [timer.cancelled() for timer in timers] == [True]


async def test_the_timer_is_moved_only_when_something_else_is_due_next(pool, timers):
    pool.ask()
    for _ in range(100):
        pool.ask()
    assert [timer.cancelled() for timer in timers] == [False]
