"""The work queue: single flight for each key, nothing forgotten, back-off after failures."""

import asyncio
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.types import Key
from fairlead_operator.work_queue import LAST_RETRY_SECONDS, Again, WorkQueue, backoff_seconds

A, B = Key("ns", "a"), Key("ns", "b")


async def test_a_key_woken_many_times_is_worked_on_once() -> None:
    queue, done = WorkQueue(Random(1)), asyncio.Event()
    worked: list[Key] = []

    async def reconcile(key: Key) -> None:
        worked.append(key)
        if key == B:
            done.set()

    for key in (A, A, A, B):
        queue.wake(key)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(queue.work(reconcile))
        await done.wait()
        worker.cancel()
    assert worked == [A, B]


async def test_a_key_woken_while_it_is_worked_on_is_worked_on_again_and_never_twice_at_once() -> None:
    queue, again = WorkQueue(Random(1)), asyncio.Event()
    running = runs = 0

    async def reconcile(key: Key) -> None:
        nonlocal running, runs
        running, runs = running + 1, runs + 1
        assert running == 1
        if runs == 1:
            queue.wake(key)
        else:
            again.set()
        await asyncio.sleep(0)
        running -= 1

    queue.wake(A)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(queue.work(reconcile)) for _ in range(4)]
        await again.wait()
        for worker in workers:
            worker.cancel()
    assert runs == 2


async def test_a_key_that_failed_is_tried_again_by_itself() -> None:
    queue, second = WorkQueue(Random(1)), asyncio.Event()
    runs = 0

    async def reconcile(_: Key) -> Again | None:
        nonlocal runs
        runs += 1
        if runs == 2:
            second.set()
            return None
        return Again(0.0)

    queue.wake(A)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(queue.work(reconcile))
        await second.wait()
        worker.cancel()
    assert runs == 2


async def test_a_key_that_is_only_to_be_looked_at_again_does_not_back_off() -> None:
    """With the back-off of failures, ten looks would take minutes."""
    queue, tenth = WorkQueue(Random(1)), asyncio.Event()
    runs = 0

    async def reconcile(_: Key) -> Again:
        nonlocal runs
        runs += 1
        if runs == 10:
            tenth.set()
        return Again(0.0, failed=False)

    queue.wake(A)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(queue.work(reconcile))
        await tenth.wait()
        worker.cancel()


@given(st.integers(1, 1000), st.integers())
def test_the_wait_after_failures_is_bounded_and_never_nothing(failures: int, seed: int) -> None:
    assert 0.2 < backoff_seconds(failures, Random(seed)) <= LAST_RETRY_SECONDS


@given(st.integers(1, 6), st.integers())
def test_the_wait_grows_with_the_failures(failures: int, seed: int) -> None:
    assert backoff_seconds(failures + 2, Random(seed)) > backoff_seconds(failures, Random(seed))
