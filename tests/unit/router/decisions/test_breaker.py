"""When an endpoint is kept from requests, and when it gets them again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import BreakerState, Reason
from fairlead_router.decisions.breaker import MAX_OPEN_SECONDS, Breaker, BreakerSettings, Sign, sign_of

SETTINGS = BreakerSettings(failures=3, open_seconds=5.0)


def breaker(*signs: Sign, now: float = 0.0) -> Breaker:
    """A breaker that has learnt these from requests placed while it was closed."""
    made = Breaker(SETTINGS)
    for sign in signs:
        made.learn(sign, now, trial=False)
    return made


def opened(now: float = 0.0) -> Breaker:
    return breaker(Sign.REFUSED, now=now)


def tried(made: Breaker, sign: Sign, now: float) -> Breaker:
    """Let one request try the endpoint."""
    assert made.placed(now)
    made.learn(sign, now, trial=True)
    return made


@pytest.mark.parametrize(
    ("reason", "status", "sign"),
    [
        (Reason.COMPLETED, 200, Sign.ANSWERED),
        (Reason.ENGINE_ERROR, 400, Sign.ANSWERED),
        (Reason.ENGINE_ERROR, 404, Sign.ANSWERED),
        (Reason.ENGINE_ERROR, 500, Sign.FAILED),
        (Reason.ENGINE_ERROR, 503, Sign.FAILED),
        (Reason.ENGINE_ERROR, 501, Sign.ANSWERED),
        (Reason.ENGINE_ERROR, 505, Sign.ANSWERED),
        (Reason.ENGINE_UNREACHABLE, 0, Sign.REFUSED),
        (Reason.ENGINE_UNREACHABLE, 503, Sign.FAILED),
        (Reason.ENGINE_DISCONNECTED, 0, Sign.FAILED),
        (Reason.ENGINE_DISCONNECTED, 200, Sign.NONE),
        (Reason.FIRST_BYTE_TIMEOUT, 0, Sign.FAILED),
        (Reason.FIRST_BYTE_TIMEOUT, 200, Sign.FAILED),
        (Reason.CLIENT_DISCONNECTED, 0, Sign.NONE),
        (Reason.CLIENT_DISCONNECTED, 200, Sign.ANSWERED),
        (Reason.TOTAL_TIMEOUT, 0, Sign.NONE),
        (Reason.SHUTTING_DOWN, 0, Sign.NONE),
        (Reason.INTERNAL_ERROR, 0, Sign.NONE),
    ],
)
def test_an_end_tells_something_of_the_endpoint_or_nothing(reason, status, sign):
    assert sign_of(reason, status) is sign


def test_a_refused_connection_opens_the_breaker_at_once():
    assert breaker(Sign.REFUSED).state(0.0) is BreakerState.OPEN


def test_other_failures_open_it_when_there_are_enough_in_a_row():
    assert breaker(Sign.FAILED, Sign.FAILED).state(0.0) is BreakerState.CLOSED
    assert breaker(Sign.FAILED, Sign.FAILED, Sign.FAILED).state(0.0) is BreakerState.OPEN


def test_an_answer_ends_the_row_of_failures():
    made = breaker(Sign.FAILED, Sign.FAILED, Sign.ANSWERED, Sign.FAILED, Sign.FAILED)
    assert made.state(0.0) is BreakerState.CLOSED


def test_an_end_that_tells_nothing_leaves_the_row_as_it_is():
    assert breaker(Sign.FAILED, Sign.NONE, Sign.FAILED, Sign.NONE, Sign.FAILED).tripped


def test_an_open_breaker_advises_against_requests_until_its_time_is_over():
    made = opened()
    assert not made.advises(4.99)
    assert made.advises(5.0)
    assert made.state(5.0) is BreakerState.HALF_OPEN


def test_only_one_request_tries_a_half_open_endpoint():
    made = opened()
    assert made.placed(5.0)
    assert not made.advises(5.1)
    assert made.state(5.1) is BreakerState.HALF_OPEN


def test_a_trial_that_is_answered_closes_the_breaker():
    made = tried(opened(), Sign.ANSWERED, 5.0)
    assert made.state(5.0) is BreakerState.CLOSED
    assert not made.worried


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_a_minute():
    made, now, waits = opened(), 0.0, []
    for _ in range(6):
        wait = next(seconds for seconds in range(1, 100) if made.advises(now + seconds))
        waits.append(wait)
        now += wait
        tried(made, Sign.FAILED, now)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_a_closed_breaker_opens_for_the_usual_time_whatever_was_before():
    made = tried(tried(opened(), Sign.FAILED, 5.0), Sign.ANSWERED, 15.0)
    made.learn(Sign.REFUSED, 20.0, trial=False)
    assert made.advises(25.0)


def test_a_trial_that_tells_nothing_lets_another_request_try_at_once():
    made = tried(opened(), Sign.NONE, 5.0)
    assert made.advises(5.0)
    assert made.state(5.0) is BreakerState.HALF_OPEN


def test_a_trial_that_hangs_does_not_keep_the_endpoint_out_for_good():
    made = opened()
    made.placed(5.0)
    assert not made.advises(9.9)
    assert made.advises(10.0)


@pytest.mark.parametrize("sign", Sign)
def test_requests_from_before_the_breaker_opened_tell_nothing_new(sign):
    made = opened()
    made.learn(sign, 1.0, trial=False)
    assert (made.advises(4.9), made.advises(5.0)) == (False, True)


def test_a_request_that_is_sent_although_the_breaker_is_open_closes_it_if_it_is_answered():
    assert not tried(opened(), Sign.ANSWERED, 1.0).tripped


def test_a_request_that_is_sent_although_the_breaker_is_open_does_not_prolong_it_if_it_fails():
    assert tried(opened(), Sign.FAILED, 4.0).advises(5.0)


def test_other_settings_hold_from_the_next_failure_on():
    made = breaker(Sign.FAILED)
    made.use(BreakerSettings(failures=2, open_seconds=1.0))
    made.learn(Sign.FAILED, 0.0, trial=False)
    assert not made.advises(0.9)
    assert made.advises(1.0)


steps = st.tuples(st.floats(0.0, 30.0), st.sampled_from(Sign), st.booleans())


@given(st.lists(steps, max_size=40))
def test_whatever_happens_an_endpoint_is_tried_again_within_the_longest_time(history):
    made, now = Breaker(SETTINGS), 0.0
    for wait, sign, finishes in history:
        now += wait
        trial = made.placed(now)
        if finishes:
            made.learn(sign, now, trial=trial)
        assert made.advises(now + MAX_OPEN_SECONDS)
        assert made.tripped == (made.state(now) is not BreakerState.CLOSED)
