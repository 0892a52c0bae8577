"""Quotas of tenants, class by class."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.breaker import Breaker, BreakerSettings
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.pace import Pace
from fairlead_router.decisions.quotas import Quotas
from fairlead_router.decisions.types import Demand, EndpointView, Quota, RequestView, Ticket, Usage


def demand(quota: Quota | None, tokens: int = 10, tenant: str = "t", service_class: str = "c") -> Demand:
    return Demand(RequestView("r", "m", service_class, 0.0, tenant=tenant, quota=quota), tokens, 0, {})


def ticket(quota: Quota, tokens: int, ttft: float | None = None) -> Ticket:
    """Of a request that has taken so many tokens."""
    account = Account(EndpointView("a", "x:1", EndpointState.READY, "a"), Breaker(BreakerSettings()), Pace())
    made = Ticket(demand(quota, tokens).request, account, trial=False)
    made.charged_tokens, made.ttft = tokens, ttft
    return made


def wait(quotas: Quotas, now: float, asked: Demand) -> int:
    """Seconds until such a request may come back, 0 where it may run."""
    refusal = quotas.charge(asked, now)
    assert refusal is None or refusal.reason is Reason.QUOTA_EXCEEDED
    return 0 if refusal is None else refusal.retry_after_seconds


def test_without_a_quota_nothing_is_counted():
    quotas = Quotas()
    assert [wait(quotas, 0.0, demand(None)) for _ in range(1000)] == [0] * 1000


def test_a_minute_s_requests_may_be_made_at_once_and_then_one_by_one():
    quotas, asked = Quotas(), demand(Quota(requests=20))
    assert [wait(quotas, 0.0, asked) for _ in range(21)] == [0] * 20 + [3]
    assert wait(quotas, 3.0, asked) == 0
    assert wait(quotas, 4.5, asked) == 2


def test_tokens_are_taken_as_expected_and_put_right_when_they_are_counted():
    quotas, quota = Quotas(), Quota(tokens=600)
    assert wait(quotas, 0.0, demand(quota, 600)) == 0
    quotas.settle(ticket(quota, 600), Reason.COMPLETED, Usage(90, 10))
    assert wait(quotas, 0.0, demand(quota, 500)) == 0
    quotas.settle(ticket(quota, 500), Reason.COMPLETED, Usage(500, 100))
    assert wait(quotas, 0.0, demand(quota, 100)) == 20


def test_a_request_that_is_larger_than_the_quota_may_have_all_of_it_and_the_next_pays():
    quotas, quota = Quotas(), Quota(tokens=600)
    assert wait(quotas, 0.0, demand(quota, 1200)) == 0
    assert wait(quotas, 0.0, demand(quota, 1)) == 61


@pytest.mark.parametrize(("ttft", "costs"), [(None, False), (0.5, True)])
def test_a_request_costs_nothing_unless_an_engine_has_begun_with_it(ttft, costs):
    quotas, quota = Quotas(), Quota(requests=1, tokens=100)
    assert wait(quotas, 0.0, demand(quota, 100)) == 0
    quotas.settle(ticket(quota, 100, ttft), Reason.ENGINE_DISCONNECTED, None)
    assert (wait(quotas, 0.0, demand(quota, 100)) > 0) == costs


def test_a_request_that_was_refused_afterwards_costs_nothing():
    quotas, asked = Quotas(), demand(Quota(requests=1, tokens=100), 100)
    assert wait(quotas, 0.0, asked) == 0
    quotas.give_back(asked)
    assert wait(quotas, 0.0, asked) == 0


def test_tenants_and_classes_have_buckets_of_their_own():
    quotas, quota = Quotas(), Quota(requests=1)
    for tenant, service_class in (("a", "x"), ("b", "x"), ("a", "y")):
        asked = demand(quota, tenant=tenant, service_class=service_class)
        assert [wait(quotas, 0.0, asked) > 0 for _ in range(2)] == [False, True]


def test_a_quota_that_is_lowered_holds_at_once():
    quotas = Quotas()
    assert wait(quotas, 0.0, demand(Quota(requests=1000))) == 0
    assert [wait(quotas, 0.0, demand(Quota(requests=1))) > 0 for _ in range(2)] == [False, True]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=60),
    st.integers(1, 20),
    st.integers(10, 1000),
)
def test_nobody_gets_more_than_a_minute_s_worth_and_what_has_been_filled_since(asked, requests, tokens):
    quotas, quota = Quotas(), Quota(requests, tokens)
    now, taken, largest = 0.0, [], 0
    for seconds, wanted in asked:
        now += seconds
        seconds_to_wait = wait(quotas, now, demand(quota, wanted))
        if not seconds_to_wait:
            taken.append(wanted)
            largest = max(largest, wanted)
        else:
            now += seconds_to_wait
            assert wait(quotas, now, demand(quota, wanted)) == 0, "whoever comes back when told is let in"
            taken.append(wanted)
            largest = max(largest, wanted)
    assert len(taken) <= requests * (1 + now / 60) + 1
    assert sum(taken) <= tokens * (1 + now / 60) + largest + 1
