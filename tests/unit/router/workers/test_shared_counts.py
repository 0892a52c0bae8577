"""Counts in shared memory: whoever writes, all read the same sums."""

import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import EndpointView, RequestView
from fairlead_router.workers.shared_counts import SLOTS, SharedCounts, SharedLedger
from fairlead_router.workers.slots import NoSlotError, SlotTable

REQUEST = RequestView("r", "m", "c", 0.0)


def endpoint(uid: str) -> EndpointView:
    return EndpointView(uid, "a:1", EndpointState.READY, uid)


@pytest.fixture
def descriptor():
    made = SharedCounts.create(2)
    yield made
    os.close(made)


class Worker:
    """A decider over one row."""

    def __init__(self, descriptor: int, row: int | None) -> None:
        self.counts = SharedCounts(descriptor, 2)
        self.ledger = SharedLedger(self.counts, row)
        self.decider = Decider(POLICIES["least-request"](Random(0)), ledger=self.ledger)

    def show(self, **slots: int) -> None:
        self.ledger.assign(slots)
        self.decider.set_endpoints(endpoint(uid) for uid in slots)

    def place(self) -> object:
        return self.decider.submit(REQUEST, 0.0).ticket

    @property
    def in_flight(self) -> dict[str, int]:
        return {view.uid: view.in_flight for view in self.decider.endpoints(0.0)}


def test_every_process_sees_the_requests_of_all(descriptor):
    one, other, reader = Worker(descriptor, 0), Worker(descriptor, 1), Worker(descriptor, None)
    for each in (one, other, reader):
        each.show(a=0, b=3)
    tickets = [one.place(), other.place(), one.place(), other.place()]
    assert one.in_flight == other.in_flight == reader.in_flight == {"a": 2, "b": 2}
    one.decider.end(tickets[0], Reason.COMPLETED, 1.0)
    assert reader.in_flight == {"a": 2, "b": 2} | {tickets[0].endpoint.uid: 1}


def test_the_requests_of_a_worker_that_has_died_are_forgotten_and_no_others(descriptor):
    one, other = Worker(descriptor, 0), Worker(descriptor, 1)
    for each in (one, other):
        each.show(a=0)
        each.place()
    other.counts.clear(0)
    assert other.in_flight == {"a": 1}
    assert not any(other.counts.rows[0])


def test_an_endpoint_that_is_gone_keeps_its_slot_while_requests_run_there(descriptor):
    one = Worker(descriptor, 0)
    one.show(a=0, b=1)
    tickets = [one.place(), one.place()]
    one.show(b=1)
    gone = next(ticket for ticket in tickets if ticket.endpoint.uid == "a")
    assert one.counts.rows[0][0] == 1
    one.decider.end(gone, Reason.COMPLETED, 1.0)
    assert one.counts.rows[0][0] == 0
    assert one.in_flight == {"b": 1}


def test_an_endpoint_that_is_gone_everywhere_is_forgotten_with_its_slot(descriptor):
    one = Worker(descriptor, 0)
    one.show(a=0)
    one.show()
    assert one.in_flight == {}


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), max_size=12))
def test_no_two_endpoints_share_a_slot_and_one_that_runs_requests_keeps_its(history):
    table = SlotTable(14)
    busy: dict[int, str] = {}
    for number, uids in enumerate(history):
        given_now = table.assign(uids, lambda slot, busy=busy: int(slot in busy))
        assert len(set(given_now.values())) == len(given_now)
        assert uids <= given_now.keys()
        assert all(given_now[uid] == slot for slot, uid in busy.items())
        busy = {slot: uid for uid, slot in given_now.items() if (number + slot) % 3 == 0}


def test_the_slot_that_has_been_free_for_longest_is_given_first():
    table = SlotTable(3)
    assert table.assign(["a"], lambda _: 0) == {"a": 0}
    assert table.assign(["b"], lambda _: 0) == {"b": 1}
    assert table.assign(["c"], lambda _: 0) == {"c": 2}
    assert table.assign(["d"], lambda _: 0) == {"d": 0}


def test_more_endpoints_than_slots_are_refused_and_change_nothing():
    table = SlotTable(2)
    table.assign("ab", lambda _: 0)
    with pytest.raises(NoSlotError, match="3 endpoints are more"):
        table.assign("abc", lambda _: 0)
    assert table.assign("ab", lambda _: 0) == {"a": 0, "b": 1}


def test_there_are_slots_for_thousands_of_endpoints(descriptor):
    counts = SharedCounts(descriptor, 2)
    counts.rows[1][SLOTS - 1] = 7
    assert counts.total(SLOTS - 1) == 7
    assert counts.totals(SLOTS)[-1] == 7
