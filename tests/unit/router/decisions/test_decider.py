"""The decider's ledger, and its judgement of a request."""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.decider import SUSPECT_SECONDS, Decider, TicketError, meets
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import EndpointView, Placement, Rejection, RequestView, Slo

LEAST_LOADED = POLICIES["least-loaded"]


def endpoint(uid: str, state: EndpointState = EndpointState.READY) -> EndpointView:
    return EndpointView(uid, f"{uid}:8000", state, uid)


NO_LIMITS = Slo()


def request(slo: Slo = NO_LIMITS, arrived_at: float = 0.0) -> RequestView:
    return RequestView("r", "m", "default", arrived_at, slo)


def decider(*endpoints: EndpointView) -> Decider:
    made = Decider(LEAST_LOADED(Random(0)))
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
        self.decider = Decider(LEAST_LOADED(Random(0)))
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

    @rule(ticket=consumes(tickets), reason=st.sampled_from(Reason), seconds=st.floats(0, 20))
    def end(self, ticket, reason, seconds):
        if ticket is None:
            return
        self.now += seconds
        self.decider.end(ticket, reason, self.now)
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
    for use in (made.first_byte, lambda t, now: made.progress(t, 1, now)):
        with pytest.raises(TicketError, match="has ended already"):
            use(ticket, 2.0)


def test_an_endpoint_that_refused_is_avoided_for_a_while_and_then_trusted_again():
    made = decider(endpoint("a"), endpoint("b"))
    refused = placed(made)
    made.end(refused, Reason.ENGINE_UNREACHABLE, 10.0)
    during = {made.submit(request(), 10.0 + SUSPECT_SECONDS / 2).ticket.endpoint.uid for _ in range(4)}
    assert during == {"a", "b"} - {refused.endpoint.uid}
    assert placed(made, 10.0 + SUSPECT_SECONDS).endpoint.uid == refused.endpoint.uid


def test_a_policy_can_be_changed_while_requests_run():
    made = decider(endpoint("a"), endpoint("b"))
    ticket = placed(made)
    made.set_policy(POLICIES["round-robin"](Random(0)))
    assert {placed(made).endpoint.uid for _ in range(2)} == {"a", "b"}
    made.end(ticket, Reason.COMPLETED, 1.0)
    assert sum(view.in_flight for view in made.endpoints(1.0)) == 2


def test_times_are_measured_from_the_arrival_of_the_request():
    made = decider(endpoint("a"))
    ticket = placed(made, 11.0, arrived_at=10.0)
    assert made.first_byte(ticket, 12.5) == 2.5
    assert made.progress(ticket, 2, 12.75) == 0.25
    assert made.progress(ticket, 1, 12.875) == 0.125
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
    assert meets(slo, ttft, tbt) is good


@pytest.mark.parametrize("reason", set(Reason) - {Reason.COMPLETED})
def test_a_request_that_did_not_complete_is_not_good(reason):
    made = decider(endpoint("a"))
    assert not made.end(placed(made), reason, 1.0).good


def test_one_slow_gap_makes_a_request_bad():
    made = decider(endpoint("a"))
    ticket = placed(made, slo=Slo(tbt_seconds=0.1))
    made.first_byte(ticket, 1.0)
    for now in (1.05, 1.25, 1.3):
        made.progress(ticket, 1, now)
    assert not made.end(ticket, Reason.COMPLETED, 1.3).good


def test_decisions_load_no_edge():
    code = (
        "import sys, fairlead_router.decisions.decider, fairlead_router.decisions.policies;"
        "print(*{'aiohttp','fastapi','kubernetes','prometheus_client','uvicorn','starlette','orjson'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.split() == []
