"""A revision that is tried with a share of the requests, and engines that are for something else."""

from random import Random

import pytest

from fairlead_router.contract import EndpointState, Reason, Role
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.canary import Canary
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.rules import QueueLimits
from fairlead_router.decisions.types import EndpointView, Placement, Rejection, RequestView

STABLE, NEW = "r1", "r2"


def view(uid: str, revision: str = STABLE, role: Role = Role.BOTH, **how: object) -> EndpointView:
    return EndpointView(uid, f"{uid}:1", EndpointState.READY, uid, revision=revision, role=role, **how)


def decider(*endpoints: EndpointView, share: float = 0.2, admission: Admission | None = None) -> Decider:
    made = Decider(POLICIES["least-request"](Random(0)), admission=admission)
    made.set_endpoints(endpoints)
    made.set_canary(Canary(NEW, share))
    return made


def place(made: Decider, request_id: str, session: int | None = None) -> str:
    decision = made.submit(RequestView(request_id, "m", "c", 0.0, session=session), 0.0)
    assert isinstance(decision, Placement)
    return decision.ticket.endpoint.uid


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 1.0])
def test_the_canary_gets_its_share_of_the_requests(share):
    made = decider(view("a"), view("b"), view("new", NEW), share=share)
    got = sum(place(made, f"r-{number}") == "new" for number in range(5000)) / 5000
    assert got == pytest.approx(share, abs=0.015)


def test_a_conversation_stays_on_its_side():
    made = decider(view("a"), view("new", NEW), share=0.5)
    for session in range(20):
        assert len({place(made, f"{session}-{number}", session) for number in range(5)}) == 1


@pytest.mark.parametrize("endpoint", [view("only", NEW), view("only", STABLE)])
def test_a_side_without_engines_is_served_by_the_other(endpoint):
    made = decider(endpoint, share=0.5)
    assert {place(made, f"r-{number}") for number in range(20)} == {"only"}


@pytest.mark.parametrize(("canary", "side", "other"), [(True, "new", "a"), (False, "a", "new")])
def test_a_request_that_waits_waits_for_its_side(canary, side, other):
    limits = EngineLimits(max_num_seqs=1)
    admission = Admission({}, QueueLimits(100, 10**9, 60.0))
    made = decider(view("a", limits=limits), view("new", NEW, limits=limits), share=0.5, admission=admission)
    ids = {True: [], False: []}
    for number in range(100):
        request = RequestView(f"r-{number}", "m", "c", 0.0)
        ids[Canary(NEW, 0.5).wants(request)].append(request)
    tickets = {uid: made.place(ids[uid == "new"].pop(), uid, 0.0) for uid in ("a", "new")}
    waiting = ids[canary].pop()
    assert made.submit(waiting, 0.0) is None
    made.end(tickets[other], Reason.COMPLETED, 1.0)
    assert made.settle(1.0) == []
    made.end(tickets[side], Reason.COMPLETED, 2.0)
    [(request, decision)] = made.settle(2.0)
    assert (request, decision.ticket.endpoint.uid) == (waiting, side)


def test_an_engine_for_prefill_gets_no_requests():
    made = decider(view("p", role=Role.PREFILL), view("d", role=Role.DECODE))
    assert {place(made, f"r-{number}") for number in range(10)} == {"d"}
    made.set_endpoints([view("p", role=Role.PREFILL)])
    assert isinstance(made.submit(RequestView("r", "m", "c", 0.0), 0.0), Rejection)
