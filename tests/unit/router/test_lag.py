"""How late the event loop is, as an event that is due at any moment would find it."""

import asyncio
import time
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.lag import INTERVAL_SECONDS, LagMeter, missed


@given(st.floats(0, 5))
def test_a_loop_held_up_is_counted_once_for_every_timer_that_was_due_meanwhile(late):
    waited = missed(late)
    assert waited[0] == late
    assert len(waited) == int(late / INTERVAL_SECONDS) + 1
    assert all(0 <= later < earlier for earlier, later in pairwise(waited))


def test_a_timer_that_fires_early_waited_for_nothing():
    assert missed(-0.001) == [0.0]


def test_hours_of_sleep_are_not_counted_ten_millisecond_by_ten_millisecond():
    assert len(missed(3600.0 * 8)) == 1001


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def runner(request):
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


def test_a_callback_that_holds_up_the_loop_is_seen_with_its_length(runner):
    async def held_up():
        seen = asyncio.Queue()
        meter = LagMeter(seen.put_nowait)
        meter.start()
        await seen.get()
        _hold_up(0.2)
        waited = [await seen.get()]
        while max(waited) < 0.2 - 2 * INTERVAL_SECONDS:  # a timer may have been due just before
            waited.append(await seen.get())
        while not seen.empty():
            waited.append(seen.get_nowait())
        meter.stop()
        return waited

    waited = runner.run(held_up())
    assert len(waited) >= 0.2 / INTERVAL_SECONDS - 2


def test_a_meter_that_was_stopped_observes_nothing_more(runner):
    async def stopped():
        seen, seen_by_another = [], asyncio.Queue()
        meter, another = LagMeter(seen.append), LagMeter(seen_by_another.put_nowait)
        meter.start()
        meter.stop()
        another.start()
        for _ in range(3):
            await seen_by_another.get()
        another.stop()
        return seen

    assert not runner.run(stopped())


def _hold_up(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
