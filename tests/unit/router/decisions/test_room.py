"""What an engine says of its memory, and what is known when it says nothing any more."""

import pytest

from fairlead_router.contract import EndpointState, TelemetryState
from fairlead_router.decisions.breaker import Breaker, BreakerSettings
from fairlead_router.decisions.engine_report import FRESH_SECONDS, EngineReport
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.pace import USUAL_LIMITS, EngineLimits, Pace
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.types import Demand, EndpointView, RequestView, Ticket


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
    assert has_room(account(EngineReport(kv_tokens=1000)), demand(tokens), 0.0) == fits


def test_without_a_word_about_memory_none_is_counted():
    assert has_room(account(taken=10**9), demand(10**6), 0.0)


@pytest.mark.parametrize(
    ("usage", "taken", "fits"), [(0.5, 0, False), (0.1, 0, True), (0.0, 500, False), (0.4, 300, True)]
)
def test_what_counts_is_the_more_of_the_engine_s_word_and_the_router_s_books(usage, taken, fits):
    assert has_room(account(EngineReport(kv_usage=usage, kv_tokens=1000), taken), demand(500), 0.0) == fits


def test_an_engine_that_says_no_more_keeps_the_size_of_its_memory_and_is_given_less():
    silent = account(EngineReport(kv_usage=0.9, kv_tokens=1000))
    silent.check_freshness(FRESH_SECONDS)
    assert silent.telemetry is TelemetryState.FRESH
    silent.check_freshness(FRESH_SECONDS + 0.1)
    assert (silent.telemetry, silent.limits.kv_tokens, silent.view(0.0).kv_usage) == (TelemetryState.STALE, 1000, None)
    assert has_room(silent, demand(800), 0.0), "what it said is not what it is: only the router's own books count"
    assert not has_room(silent, demand(801), 0.0)


def test_a_word_makes_it_fresh_again():
    silent = account(EngineReport(kv_tokens=1000))
    silent.check_freshness(FRESH_SECONDS + 1)
    silent.reported(EngineReport(kv_tokens=2000), FRESH_SECONDS + 2)
    assert (silent.telemetry, silent.limits.kv_tokens) == (TelemetryState.FRESH, 2000)


def test_discovery_does_not_make_the_router_forget_the_size_of_the_memory():
    told = account(EngineReport(kv_tokens=1000))
    told.discovered(EndpointView("a", "x:1", EndpointState.DRAINING, "a"), USUAL_LIMITS)
    assert told.limits.kv_tokens == 1000


class TestPromptsAhead:
    """An engine that computes 512 tokens in a tenth of a second, and has a prompt of 6000."""

    def busy(self, *prompts: int, known: bool = True) -> Account:
        made = Account(
            EndpointView("a", "x:1", EndpointState.READY, "a", limits=EngineLimits(64, 512)),
            Breaker(BreakerSettings()),
            Pace(),
        )
        for _ in range(50 if known else 0):
            made.pace.observe(512, 0.1, 64)
        for tokens in prompts:
            asked = Demand(RequestView("r", "m", "c", 0.0, streamed=True), tokens, 10, {})
            made.own = made.in_flight = made.in_flight + 1
            made.begin(Ticket(asked.request, made, trial=False), asked, 0.0)
        return made

    @pytest.mark.parametrize(("now", "room"), [(0.0, False), (0.9, False), (1.1, True), (100.0, True)])
    def test_the_next_prompt_comes_before_the_last_is_computed(self, now, room):
        assert has_room(self.busy(6000), demand(100), now) == room

    def test_where_nobody_knows_how_fast_it_is_a_prompt_counts_until_its_first_token(self):
        assert not has_room(self.busy(6000, known=False), demand(100), 100.0)

    def test_of_two_prompts_the_second_is_not_computed_before_the_first_has_its_token(self):
        busy = self.busy(6000, 6000)
        assert not has_room(busy, demand(100), 1.2)
        busy.first_token(next(iter(busy.load._prompts)), 1.2)
        assert not has_room(busy, demand(100), 1.7)
        assert has_room(busy, demand(100), 2.5)

    def test_where_first_tokens_come_late_because_of_others_there_is_less_room(self):
        busy = self.busy(6000)
        busy.pace.bias = 1.5
        assert not has_room(busy, demand(100), 1.1)
        assert has_room(busy, demand(100), 1.8)
