"""How often a request may be sent once more, and how long it waits."""

from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.retry import BURST, MOST_SAVED, RetryPolicy, RetrySettings


def policy(**settings: float) -> RetryPolicy:
    return RetryPolicy(RetrySettings(**settings), Random(0))


@given(
    budget=st.floats(0.0, 1.0),
    asks=st.lists(st.booleans(), max_size=400),
)
def test_the_budget_is_never_exceeded(budget, asks):
    made = policy(budget=budget)
    requests = retries = 0
    for is_request in asks:
        if is_request:
            requests += 1
            made.requested()
        elif made.next(0) is not None:
            retries += 1
        assert retries <= BURST + budget * requests + 1e-6
    assert retries + made.exhausted == asks.count(False)


def test_a_router_that_has_just_started_may_retry_ten_times_at_once():
    made = policy(budget=0.0)
    assert [made.next(0) is not None for _ in range(12)] == [True] * 10 + [False] * 2
    assert made.exhausted == 2


def test_requests_earn_retries():
    made = policy(budget=0.25)
    while made.next(0) is not None:
        pass
    for _ in range(3):
        made.requested()
    assert made.next(0) is None
    made.requested()
    assert made.next(0) is not None


def test_a_long_quiet_time_does_not_save_up_retries_without_end():
    made = policy(budget=1.0)
    for _ in range(1000):
        made.requested()
    spent = sum(made.next(0) is not None for _ in range(1000))
    assert MOST_SAVED <= spent <= MOST_SAVED + 1


@pytest.mark.parametrize(("attempts", "retries"), [(1, 0), (2, 1), (3, 2)])
def test_a_request_is_sent_to_so_many_engines_and_no_more(attempts, retries):
    made = policy(attempts=attempts)
    allowed = 0
    while made.next(allowed) is not None:
        allowed += 1
    assert allowed == retries


def test_a_request_that_has_had_its_attempts_costs_no_budget():
    made = policy(attempts=1)
    made.next(0)
    assert made.exhausted == 0


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_wait_is_drawn_evenly_up_to_twice_its_mean_which_doubles(retries):
    made = policy(attempts=10, budget=1.0, backoff_seconds=0.1)
    waits = []
    for _ in range(4000):
        made.requested()
        waits.append(made.next(retries))
    limit = 0.2 * 2**retries
    assert 0.0 <= min(waits) < 0.01 * limit
    assert 0.99 * limit < max(waits) <= limit
    assert mean(waits) == pytest.approx(limit / 2, rel=0.05)


def test_other_settings_keep_what_is_saved():
    made = policy(budget=0.0)
    made.use(RetrySettings(attempts=2, budget=1.0))
    assert sum(made.next(0) is not None for _ in range(20)) == BURST
    assert made.next(1) is None
