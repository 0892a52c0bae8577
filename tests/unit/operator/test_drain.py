"""When an engine that is to go may be deleted."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.plan.drain import (
    NOTICE_SECONDS,
    drained,
    drains,
    in_flight,
    look_again_seconds,
    misdated,
)
from fairlead_operator.plan.observed import NOT_ASKED
from fairlead_operator.types import Engine, Placed, RouterReport

TIMEOUT = 300.0
MARKED = 1000.0
ENGINE = Engine("chat-engine-0", "uid-0", "r1", created_seconds=0.0, ready=True, draining_since_seconds=MARKED)
LATER = MARKED + 60
OVER = MARKED + TIMEOUT


def says(running: int, *, draining: bool = True, router: str = "a") -> RouterReport:
    return RouterReport(router, {ENGINE.uid: Placed(draining, running)})


SILENT = RouterReport("silent", trouble="connection refused")
UNAWARE = RouterReport("unaware", {})


def verdict(*routers: RouterReport, engine: Engine = ENGINE, now: float = LATER) -> tuple[str, bool] | None:
    """Why the engine is deleted now and whether that may cut requests; None where it waits."""
    removals = drained(drains([engine], routers, TIMEOUT, now), now)
    return (removals[0].why, removals[0].cuts) if removals else None


IDLE = ("nothing runs there any more", False)


@pytest.mark.parametrize(
    ("routers", "expected"),
    [
        ([says(0)], IDLE),
        ([says(0), says(0, router="b")], IDLE),
        ([], IDLE),
        ([says(1)], None),
        ([says(0), says(1, router="b")], None),
        ([says(0, draining=False)], None),
        ([says(0), UNAWARE], None),
        ([says(0), SILENT], None),
        (NOT_ASKED, None),
    ],
    ids=[
        "idle",
        "idle at both routers",
        "no router lives, so nobody has sent anything",
        "one request runs",
        "one runs at the other router",
        "the router has not seen the mark",
        "one router does not know the engine yet",
        "one router cannot be asked",
        "nobody was asked",
    ],
)
def test_an_engine_is_deleted_when_every_router_knows_and_none_has_anything_there(
    routers: list[RouterReport], expected: tuple[str, bool] | None
) -> None:
    assert verdict(*routers) == expected


@pytest.mark.parametrize(
    ("routers", "left"),
    [
        ([says(3), says(2, router="b")], "5 in flight"),
        ([says(0), SILENT], "silent cannot be asked: connection refused"),
        (
            [says(3), SILENT, UNAWARE],
            "3 in flight; silent cannot be asked: connection refused; unaware does not know yet",
        ),
    ],
)
def test_at_the_end_of_its_time_it_is_deleted_all_the_same_and_what_is_left_is_told(
    routers: list[RouterReport], left: str
) -> None:
    assert verdict(*routers, now=OVER - 0.1) is None
    assert verdict(*routers, now=OVER) == (f"drain.timeout is over ({left})", True)


def test_an_idle_engine_is_not_deleted_before_every_process_of_a_router_has_seen_the_mark() -> None:
    assert verdict(says(0), now=MARKED + NOTICE_SECONDS - 0.1) is None
    assert verdict(says(0), now=MARKED + NOTICE_SECONDS) == IDLE


def test_an_engine_without_an_address_waits_for_no_router() -> None:
    """No router has it among its endpoints, so none will ever say that it knows of the mark."""
    never_started = replace(ENGINE, addressed=False, ready=False)
    assert verdict(UNAWARE, SILENT, engine=never_started) == IDLE


@pytest.mark.parametrize("engine", [replace(ENGINE, terminating=True), replace(ENGINE, ended=True)])
def test_an_engine_that_goes_already_does_not_drain(engine: Engine) -> None:
    assert drains([engine], [says(1)], TIMEOUT, LATER) == []


@pytest.mark.parametrize("since", [LATER + 1, math.inf])
def test_a_mark_that_tells_no_time_that_has_been_is_made_anew(since: float) -> None:
    odd = replace(ENGINE, draining_since_seconds=since)
    assert [removal.engine for removal in misdated([odd, ENGINE], LATER)] == [odd]
    assert drains([odd], [says(0)], TIMEOUT, LATER) == []


def test_requests_of_all_routers_are_added_up() -> None:
    assert in_flight([says(2), says(3, router="b"), SILENT]) == {ENGINE.uid: 5}


@pytest.mark.parametrize(
    ("passed", "wait"), [(0, 1.0), (5, 1.0), (30, 3.0), (200, 10.0), (TIMEOUT - 0.5, 0.5), (TIMEOUT + 5, 10.0)]
)
def test_routers_are_asked_again_after_a_tenth_of_the_time_so_far(passed: float, wait: float) -> None:
    now = MARKED + passed
    assert look_again_seconds(drains([ENGINE], [says(1)], TIMEOUT, now), now) == pytest.approx(wait)


def test_the_youngest_drain_says_when_routers_are_asked_again() -> None:
    young = replace(ENGINE, name="chat-engine-1", uid="uid-1", draining_since_seconds=LATER)
    assert look_again_seconds(drains([ENGINE, young], [says(1)], TIMEOUT, LATER), LATER) == pytest.approx(1.0)


def test_where_nothing_drains_nobody_is_asked() -> None:
    assert look_again_seconds([], LATER) is None


reports = st.lists(
    st.builds(
        lambda name, running, draining, trouble: RouterReport(
            name, {} if trouble else {ENGINE.uid: Placed(draining, running)}, trouble
        ),
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.booleans(),
        st.sampled_from(["", "", "refused"]),
    ),
    max_size=4,
)


@given(reports, st.floats(0, 2 * TIMEOUT))
def test_nothing_is_cut_before_its_time_is_over(routers: list[RouterReport], passed: float) -> None:
    """Deleted before the deadline: every router was asked, knew, and had nothing there."""
    now = MARKED + passed
    if verdict(*routers, now=now) is not None and now < OVER:
        assert all(not router.trouble for router in routers)
        assert all(router.engines[ENGINE.uid] == Placed(draining=True, in_flight=0) for router in routers)


@given(reports, st.floats(TIMEOUT, 3 * TIMEOUT))
def test_every_drain_ends_at_its_time(routers: list[RouterReport], passed: float) -> None:
    assert verdict(*routers, now=MARKED + passed) is not None


@given(reports, st.floats(0, 3 * TIMEOUT))
def test_while_an_engine_drains_it_is_looked_at_again_without_a_storm(
    routers: list[RouterReport], passed: float
) -> None:
    now = MARKED + passed
    wait = look_again_seconds(drains([ENGINE], routers, TIMEOUT, now), now)
    assert wait is not None
    assert 0 < wait <= 10
    assert wait >= 1 or now + wait == pytest.approx(OVER)
