"""One sweep for all deadlines."""

import asyncio
import contextlib

from fairlead_router.deadlines import NEVER, Deadlines


class Member:
    def __init__(self, deadline: float, fault: bool = False) -> None:
        self.deadline = deadline
        self.expirations = 0
        self._fault = fault

    def expired(self, _now: float) -> None:
        self.expirations += 1
        if self._fault:
            raise ZeroDivisionError


@contextlib.asynccontextmanager
async def sweeping(*members: Member):
    deadlines = Deadlines()
    for member in members:
        deadlines.add(member)
    task = asyncio.get_running_loop().create_task(deadlines.run())
    yield deadlines
    task.cancel()
    await asyncio.wait([task])


async def test_only_a_deadline_that_has_passed_takes_effect(kit):
    passed, never = Member(0.0), Member(NEVER)
    async with sweeping(passed, never):
        await kit.until(lambda: passed.expirations > 1, "swept twice")
        assert never.expirations == 0


async def test_what_was_removed_is_left_alone(kit):
    removed, other = Member(0.0), Member(0.0)
    async with sweeping(removed, other) as deadlines:
        deadlines.discard(removed)
        await kit.until(lambda: other.expirations > 0, "swept")
        assert removed.expirations == 0


async def test_a_fault_of_one_takes_no_deadline_from_the_others(kit, caplog):
    faulty, other = Member(0.0, fault=True), Member(0.0)
    async with sweeping(faulty, other):
        await kit.until(lambda: other.expirations > 1, "swept twice")
    assert faulty.expirations == 1
    assert "ZeroDivisionError" in caplog.text
