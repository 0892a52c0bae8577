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


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_callback_that_holds_up_the_loop_is_seen_with_its_length(new_loop):
    seen = []

    async def held_up():
        meter = LagMeter(seen.append)
        meter.start()
        while not seen:  # noqa: ASYNC110 - the meter has no event for it
            await asyncio.sleep(0.001)
        seen.clear()
        _hold_up(0.2)
        while not seen:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        meter.stop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(held_up())
    assert max(seen) >= 0.2 - 2 * INTERVAL_SECONDS
    assert len(seen) >= 0.2 / INTERVAL_SECONDS - 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_meter_that_was_stopped_observes_nothing_more(new_loop):
    seen = []

    async def stopped():
        meter = LagMeter(seen.append)
        meter.start()
        meter.stop()
        await asyncio.sleep(3 * INTERVAL_SECONDS)  # nothing is to happen, so there is nothing to wait for

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stopped())
    assert not seen


def _hold_up(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
