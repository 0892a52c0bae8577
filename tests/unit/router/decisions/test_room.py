"""What an engine says of its memory, and what is known when it says nothing any more."""

import pytest

from fairlead_router.contract import EndpointState, TelemetryState
from fairlead_router.decisions.breaker import Breaker, BreakerSettings
from fairlead_router.decisions.engine_report import FRESH_SECONDS, EngineReport
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.pace import USUAL_LIMITS, Pace
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.types import Demand, EndpointView, RequestView


def account(report: EngineReport | None = None, taken: int = 0) -> Account:
    """An endpoint that runs a request, with so many tokens of memory taken by the router's own books."""
    made = Account(EndpointView("a", "x:1", EndpointState.READY, "a"), Breaker(BreakerSettings()), Pace())
    made.in_flight = made.own = 1
    made.load.kv_tokens = taken
    if report is not None:
        made.reported(report, 0.0)
    return made


def demand(tokens: int) -> Demand:
    return Demand(RequestView("r", "m", "c", 0.0), tokens - 10, 10, {})


@pytest.mark.parametrize(("tokens", "fits"), [(950, True), (951, False)])
def test_memory_is_given_away_up_to_a_margin(tokens, fits):
    assert has_room(account(EngineReport(kv_tokens=1000)), demand(tokens)) == fits


def test_without_a_word_about_memory_none_is_counted():
    assert has_room(account(taken=10**9), demand(10**6))


@pytest.mark.parametrize(
    ("usage", "taken", "fits"), [(0.5, 0, False), (0.1, 0, True), (0.0, 500, False), (0.4, 300, True)]
)
def test_what_counts_is_the_more_of_the_engine_s_word_and_the_router_s_books(usage, taken, fits):
    assert has_room(account(EngineReport(kv_usage=usage, kv_tokens=1000), taken), demand(500)) == fits


def test_an_engine_that_says_no_more_keeps_the_size_of_its_memory_and_is_given_less():
    silent = account(EngineReport(kv_usage=0.9, kv_tokens=1000))
    silent.check_freshness(FRESH_SECONDS)
    assert silent.telemetry is TelemetryState.FRESH
    silent.check_freshness(FRESH_SECONDS + 0.1)
    assert (silent.telemetry, silent.limits.kv_tokens, silent.view(0.0).kv_usage) == (TelemetryState.STALE, 1000, None)
    assert has_room(silent, demand(800)), "what it said is not what it is: only the router's own books count"
    assert not has_room(silent, demand(801))


def test_a_word_makes_it_fresh_again():
    silent = account(EngineReport(kv_tokens=1000))
    silent.check_freshness(FRESH_SECONDS + 1)
    silent.reported(EngineReport(kv_tokens=2000), FRESH_SECONDS + 2)
    assert (silent.telemetry, silent.limits.kv_tokens) == (TelemetryState.FRESH, 2000)


def test_discovery_does_not_make_the_router_forget_the_size_of_the_memory():
    told = account(EngineReport(kv_tokens=1000))
    told.discovered(EndpointView("a", "x:1", EndpointState.DRAINING, "a"), USUAL_LIMITS)
    assert told.limits.kv_tokens == 1000
