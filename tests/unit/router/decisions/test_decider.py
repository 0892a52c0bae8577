"""The decider's ledger, and its judgement of a request."""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fairlead_router.contract import BreakerState, EndpointState, Reason
from fairlead_router.decisions.breaker import BreakerSettings
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import EndpointView, Placement, Rejection, RequestView, Slo, TicketError, Usage

LEAST_REQUEST = POLICIES["least-request"]


def endpoint(uid: str, state: EndpointState = EndpointState.READY) -> EndpointView:
    return EndpointView(uid, f"{uid}:8000", state, uid)


NO_LIMITS = Slo()


def request(slo: Slo = NO_LIMITS, arrived_at: float = 0.0) -> RequestView:
    return RequestView("r", "m", "default", arrived_at, slo)


OPEN_SECONDS = 5.0
BREAKER = BreakerSettings(failures=2, open_seconds=OPEN_SECONDS)


def decider(*endpoints: EndpointView) -> Decider:
    made = Decider(LEAST_REQUEST(Random(0)), BREAKER)
    made.set_endpoints(endpoints)
    return made


def placed(made: Decider, now: float = 0.0, **how: object):
    decision = made.submit(request(**how), now)
    assert isinstance(decision, Placement)
    return decision.ticket


class Ledger(RuleBasedStateMachine):
    """Any sequence of discoveries, placements and ends."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.decider = Decider(LEAST_REQUEST(Random(0)), BREAKER)
        self.known: dict[str, EndpointState] = {}
        self.open: list[str] = []
        self.now = 0.0

    @rule(found=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(list(EndpointState)[:3])))
    def discover(self, found):
        self.known = found
        self.decider.set_endpoints(endpoint(uid, state) for uid, state in found.items())

    @rule(target=tickets, tried=st.sets(st.sampled_from("abcd")))
    def submit(self, tried):
        decision = self.decider.submit(request(), self.now, tried)
        eligible = {uid for uid, state in self.known.items() if state is EndpointState.READY} - tried
        if isinstance(decision, Rejection):
            assert not eligible, "work conserving: rejects only where no endpoint is eligible"
            return None
        uid = decision.ticket.endpoint.uid
        assert uid in eligible
        self.open.append(uid)
        return decision.ticket

    @rule(uid=st.sampled_from("abcde"), target=tickets)
    def place(self, uid):
        """Somebody else has chosen."""
        there = uid in self.known or uid in self.open
        ticket = self.decider.place(request(), uid, self.now)
        assert (ticket is not None) == there
        if ticket is not None:
            self.open.append(uid)
        return ticket

    @rule(
        ticket=consumes(tickets),
        reason=st.sampled_from(Reason),
        status=st.sampled_from([0, 200, 404, 500]),
        seconds=st.floats(0, 20),
    )
    def end(self, ticket, reason, status, seconds):
        if ticket is None:
            return
        self.now += seconds
        if status == 200:
            self.decider.first_byte(ticket, self.now)
        self.decider.end(ticket, reason, self.now, status)
        self.open.remove(ticket.endpoint.uid)
        with pytest.raises(TicketError):
            self.decider.end(ticket, reason, self.now)

    @invariant()
    def the_ledger_is_the_open_tickets(self):
        ledger = {view.uid: view.in_flight for view in self.decider.endpoints(self.now)}
        assert all(count >= 0 for count in ledger.values())
        assert {uid: count for uid, count in ledger.items() if count} == {u: self.open.count(u) for u in self.open}

    @invariant()
    def endpoints_are_the_known_ones_and_those_that_still_run_requests(self):
        shown = {view.uid: view.state for view in self.decider.endpoints(self.now)}
        gone = dict.fromkeys(set(self.open) - set(self.known), EndpointState.GONE)
        assert shown == {**self.known, **gone}


TestLedger = Ledger.TestCase


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([], "the pool has no engine"),
        (["not_ready", "draining", "not_ready"], "2 not ready, 1 draining"),
    ],
)
def test_a_rejection_says_why_no_endpoint_will_do(states, message):
    made = decider(*(endpoint(str(n), EndpointState(state)) for n, state in enumerate(states)))
    rejection = made.submit(request(), 0.0)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.NO_ENDPOINT
    assert message in rejection.message


def test_a_ticket_is_of_no_use_after_its_end():
    made = decider(endpoint("a"))
    ticket = placed(made)
    made.end(ticket, Reason.COMPLETED, 1.0)
    for use in (
        ticket.first_token,
        lambda now: ticket.further_tokens(1, now),
        lambda now: made.first_byte(ticket, now),
        lambda now: made.end(ticket, Reason.COMPLETED, now),
    ):
        with pytest.raises(TicketError, match="request r has ended already"):
            use(2.0)


def test_a_decision_says_what_each_candidate_was_worth():
    made = decider(endpoint("a"), endpoint("b"), endpoint("c", EndpointState.DRAINING))
    first = made.submit(request(), 0.0).ticket.endpoint.uid
    second = made.submit(request(), 0.0)
    assert second.scores_by_uid == {first: -1, second.ticket.endpoint.uid: 0}


def chosen_of(made: Decider, now: float, times: int = 4) -> set[str]:
    return {placed(made, now).endpoint.uid for _ in range(times)}


def states(made: Decider, now: float) -> dict[str, BreakerState]:
    return {view.uid: view.breaker for view in made.endpoints(now)}


def test_an_endpoint_that_refused_is_avoided_for_a_while():
    made = decider(endpoint("a"), endpoint("b"))
    refused = placed(made)
    made.end(refused, Reason.ENGINE_UNREACHABLE, 10.0)
    assert chosen_of(made, 10.0 + OPEN_SECONDS / 2) == {"a", "b"} - {refused.endpoint.uid}
    assert states(made, 10.0)[refused.endpoint.uid] is BreakerState.OPEN


def test_then_one_request_tries_it_and_the_first_byte_of_its_answer_brings_all_others_back():
    made = decider(endpoint("a"), endpoint("b"))
    refused = placed(made)
    uid = refused.endpoint.uid
    made.end(refused, Reason.ENGINE_UNREACHABLE, 10.0)
    for _ in range(10):
        placed(made, 10.0)  # on the other
    trial = placed(made, 10.0 + OPEN_SECONDS)
    assert (trial.endpoint.uid, trial.trial) == (uid, True)
    assert uid not in chosen_of(made, 10.1 + OPEN_SECONDS)
    assert states(made, 10.1 + OPEN_SECONDS)[uid] is BreakerState.HALF_OPEN
    made.first_byte(trial, 10.2 + OPEN_SECONDS)
    assert states(made, 10.2 + OPEN_SECONDS)[uid] is BreakerState.CLOSED
    assert chosen_of(made, 10.2 + OPEN_SECONDS) == {uid}
    assert made.end(trial, Reason.COMPLETED, 20.0, 200).reason is Reason.COMPLETED


def test_an_endpoint_that_answers_with_server_errors_is_avoided_after_enough_of_them():
    made = decider(endpoint("a"), endpoint("b"))
    made.set_policy(POLICIES["round-robin"](Random(0)), "round-robin")
    for _ in range(4):
        ticket = placed(made)
        made.end(ticket, Reason.ENGINE_ERROR, 1.0, 500 if ticket.endpoint.uid == "a" else 400)
    assert states(made, 1.0) == {"a": BreakerState.OPEN, "b": BreakerState.CLOSED}


@pytest.mark.parametrize("policy", POLICIES)
@given(
    found=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(list(EndpointState)[:3]), min_size=1),
    failing=st.sets(st.sampled_from("abcd")),
)
def test_only_a_ready_endpoint_is_chosen_and_one_always_is_if_there_is_any(policy, found, failing):
    made = Decider(POLICIES[policy](Random(0)), BREAKER)
    made.set_endpoints(endpoint(uid, state) for uid, state in found.items())
    for uid in failing & found.keys():
        made.end(made.place(request(), uid, 0.0), Reason.ENGINE_UNREACHABLE, 0.0)
    decision = made.submit(request(), 1.0)
    ready = {uid for uid, state in found.items() if state is EndpointState.READY}
    if ready:
        assert decision.ticket.endpoint.uid in (ready - failing or ready)
    else:
        assert decision.reason is Reason.NO_ENDPOINT


def test_while_every_breaker_is_open_requests_are_spread_over_all():
    made = decider(endpoint("a"), endpoint("b"))
    for uid in "ab":
        made.end(made.place(request(), uid, 0.0), Reason.ENGINE_UNREACHABLE, 0.0)
    assert chosen_of(made, 1.0) == {"a", "b"}
    assert set(states(made, 1.0).values()) == {BreakerState.OPEN}


def test_other_settings_of_the_breakers_hold_for_endpoints_that_are_there_and_for_new_ones():
    made = decider(endpoint("a"))
    made.set_breaker(BreakerSettings(failures=1))
    made.set_endpoints([endpoint("a"), endpoint("b")])
    for uid in "ab":
        made.end(made.place(request(), uid, 0.0), Reason.ENGINE_ERROR, 0.0, 500)
    assert set(states(made, 0.0).values()) == {BreakerState.OPEN}


class OthersToo:
    """A ledger of two processes, of which the other has requests on `a`."""

    def note(self, account):
        pass

    def refresh(self, accounts):
        for account in accounts:
            account.in_flight = account.own + (3 if account.uid == "a" else 0)


def test_requests_of_other_processes_count_where_the_ledger_knows_of_them():
    made = Decider(LEAST_REQUEST(Random(0)), ledger=OthersToo())
    made.set_endpoints([endpoint("a"), endpoint("b")])
    assert [placed(made).endpoint.uid for _ in range(3)] == ["b"] * 3
    assert {view.uid: view.in_flight for view in made.endpoints(0.0)} == {"a": 3, "b": 3}


def test_an_endpoint_that_is_gone_stays_while_another_process_has_requests_there():
    made = Decider(LEAST_REQUEST(Random(0)), ledger=OthersToo())
    made.set_endpoints([endpoint("a"), endpoint("b")])
    made.set_endpoints([])
    assert [(view.uid, view.state) for view in made.endpoints(0.0)] == [("a", EndpointState.GONE)]


def test_a_policy_can_be_changed_while_requests_run():
    made = decider(endpoint("a"), endpoint("b"))
    ticket = placed(made)
    made.set_policy(POLICIES["round-robin"](Random(0)), "round-robin")
    assert {placed(made).endpoint.uid for _ in range(2)} == {"a", "b"}
    made.end(ticket, Reason.COMPLETED, 1.0)
    assert sum(view.in_flight for view in made.endpoints(1.0)) == 2


def test_times_are_measured_from_the_arrival_of_the_request():
    made = decider(endpoint("a"))
    ticket = placed(made, 11.0, arrived_at=10.0)
    assert ticket.first_token(12.5) == 2.5
    assert ticket.further_tokens(2, 12.75) == 0.25
    assert ticket.further_tokens(1, 12.875) == 0.125
    outcome = made.end(ticket, Reason.COMPLETED, 14.0)
    assert (outcome.ttft_seconds, outcome.worst_tbt_seconds, outcome.duration_seconds) == (2.5, 0.25, 4.0)
    assert outcome.token_chunks == 4


@pytest.mark.parametrize(
    ("slo", "ttft", "tbt", "good"),
    [
        (Slo(), 99.0, 99.0, True),
        (Slo(1.0, 0.1), 1.0, 0.1, True),
        (Slo(1.0, 0.1), 1.01, 0.1, False),
        (Slo(1.0, 0.1), 1.0, 0.11, False),
        (Slo(1.0), 0.5, 99.0, True),
        (Slo(None, 0.1), 99.0, 0.05, True),
        (Slo(1.0, 0.1), None, None, True),
        (Slo(1.0, 0.1), 0.5, None, True),
    ],
)
def test_a_completed_request_is_good_if_it_met_every_limit(slo, ttft, tbt, good):
    assert slo.met_by(ttft, tbt) is good


@pytest.mark.parametrize("reason", set(Reason) - {Reason.COMPLETED})
def test_a_request_that_did_not_complete_is_not_good(reason):
    made = decider(endpoint("a"))
    assert not made.end(placed(made), reason, 1.0).good


def test_one_slow_gap_makes_a_request_bad():
    made = decider(endpoint("a"))
    ticket = placed(made, slo=Slo(tbt_seconds=0.1))
    ticket.first_token(1.0)
    for now in (1.05, 1.25, 1.3):
        ticket.further_tokens(1, now)
    assert not made.end(ticket, Reason.COMPLETED, 1.3).good


def test_decisions_load_no_edge():
    code = (
        "import sys, fairlead_router.decisions.decider, fairlead_router.decisions.policies;"
        "print(*{'aiohttp','fastapi','kubernetes','prometheus_client','uvicorn','starlette','orjson'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.split() == []


@pytest.mark.parametrize(("says", "cached"), [(None, 64), (True, 64), (False, 0)])
def test_nothing_is_believed_to_be_cached_by_an_engine_that_says_it_caches_nothing(says, cached):
    made = Decider(POLICIES["rad"](Random(0)))
    made.set_endpoints([endpoint("a"), endpoint("b")])
    made.note_reports({uid: EngineReport(caches_prefixes=says) for uid in "ab"}, 0.0)
    asked = RequestView("r", "m", "c", 0.0, prompt_tokens=500, prefix=(1,), prefix_ends=(64,))
    first = made.submit(asked, 0.0).ticket.endpoint.uid
    assert made._demands.of(asked).cached == ({first: cached} if cached else {})


class TestResumed:
    """A request that runs already when this decider hears of it."""

    def resumed(self, *, answers: bool):
        made = Decider(POLICIES["rad"](Random(0)))
        made.set_endpoints([endpoint("a"), endpoint("b")])
        view = RequestView("r", "m", "c", 0.0, streamed=True, prompt_tokens=500, max_output_tokens=100)
        ticket = made.resume(view, "a", 9.0, answers=answers)
        return made, ticket, ticket.account.load

    def test_its_prompt_and_its_answer_take_memory(self):
        _, _, load = self.resumed(answers=True)
        assert load.kv_tokens == 600

    @pytest.mark.parametrize(("answers", "prefill_tokens", "decodes"), [(False, 500, 0), (True, 0, 1)])
    def test_it_is_in_the_phase_in_which_it_is(self, answers, prefill_tokens, decodes):
        _, _, load = self.resumed(answers=answers)
        assert (load.prefill_tokens, load.decodes) == (prefill_tokens, decodes)

    @pytest.mark.parametrize("answers", [False, True])
    def test_its_times_teach_nothing(self, answers):
        made, ticket, _ = self.resumed(answers=answers)
        pace = ticket.account.pace
        before = pace.batch_seconds(100), pace.bias, pace.error
        if not answers:
            made.first_byte(ticket, 9.001)
        else:
            made.end(ticket, Reason.COMPLETED, 10.0, 200, Usage(500, 100))
        assert (pace.batch_seconds(100), pace.bias, pace.error) == before

    def test_where_its_endpoint_is_not_known_nothing_is_noted(self):
        made, _, _ = self.resumed(answers=False)
        assert made.resume(request(), "elsewhere", 9.0, answers=True) is None
