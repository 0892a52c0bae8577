"""Places that are asked back for more urgent requests: when, from whom, and that nobody is lost or runs twice."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.journal import Journal
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.recalls import ANSWER_SECONDS
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits, yielding
from fairlead_router.decisions.types import EndpointView, Placement, Quota, Rejection, RequestView, Slo, Ticket

LIMITS = EngineLimits(max_num_seqs=8, batch_tokens=512)
STRICT = ClassRules(priority=10)
RULES = {"strict": STRICT, "batch": ClassRules(on_unreachable=OnUnreachable.QUEUE), "patient": ClassRules(priority=5)}
SLOS = {"strict": Slo(1.0, None), "batch": Slo(30.0, None), "patient": Slo(None, None)}
LONG = 8000


class Pool:
    """A decider with a queue, and requests to it at a time of its own."""

    def __init__(self, *uids: str, rules=RULES, queue=QueueLimits(), limits=LIMITS) -> None:  # noqa: B008 - frozen
        self.journal = Journal()
        self.decider = Decider(POLICIES["rad"](Random(0)), admission=Admission(rules, queue), journal=self.journal)
        self.decider.set_endpoints(
            EndpointView(uid, f"{uid}:1", EndpointState.READY, uid, limits=limits) for uid in uids or ("a",)
        )
        self.now = 0.0
        self.last: RequestView
        self._number = 0

    def submit(self, service_class="batch", tokens=LONG, *, slo=None, streamed=True, **how):
        self._number += 1
        slo = slo or SLOS[service_class]
        self.last = RequestView(
            str(self._number), "m", service_class, self.now, slo, streamed, prompt_tokens=tokens, **how
        )
        return self.decider.submit(self.last, self.now)

    def placed(self, *how, **more) -> Ticket:
        decision = self.submit(*how, **more)
        assert isinstance(decision, Placement)
        return decision.ticket

    def waits(self, *how, **more) -> RequestView:
        assert self.submit(*how, **more) is None
        return self.last

    def settle(self):
        return self.decider.settle(self.now)

    def recall(self, at: float):
        self.now = at
        self.settle()
        return self.decider.recall(at)

    def give_back(self, ticket: Ticket):
        """Do what the holder of a place does that is asked back."""
        self.decider.end(ticket, Reason.TAKEN_BACK, self.now)
        self.last = ticket.request._replace(taken_from=ticket.endpoint.uid)
        return self.decider.submit(self.last, self.now)


def test_the_place_of_a_long_prompt_is_asked_back_when_half_of_a_more_urgent_request_s_time_is_over():
    pool = Pool()
    long = pool.placed()
    pool.waits("strict", 100)
    due = pool.decider.next_due(0.0)
    assert pool.recall(due - 0.01) is None
    assert pool.recall(due) is long
    assert due == pytest.approx(0.5, abs=0.1)


def test_the_urgent_one_gets_the_room_and_the_other_waits_again():
    pool = Pool()
    long = pool.placed()
    strict = pool.waits("strict", 100)
    assert pool.recall(0.6) is long
    assert pool.give_back(long) is None
    (first, _), (second, decision) = pool.settle()
    assert first is strict
    assert second is pool.last
    assert decision.ticket.endpoint.uid == "a"  # behind the other


def test_a_request_gives_its_place_once():
    pool = Pool()
    long = pool.placed()
    pool.waits("strict", 100)
    assert pool.recall(0.6) is long
    pool.give_back(long)
    assert len(pool.settle()) == 2
    pool.waits("strict", 100)
    assert pool.recall(1.3) is None


def test_nobody_of_the_same_or_of_a_higher_class_gives_its_place():
    for service_class, urgent in (("strict", "strict"), ("patient", "batch")):
        pool = Pool()
        pool.placed(service_class)
        pool.waits(urgent, 100, slo=Slo(2.0, None))
        assert pool.recall(1.5) is None


def test_nobody_gives_its_place_who_has_a_token():
    pool = Pool(limits=EngineLimits(max_num_seqs=1))
    ticket = pool.placed()
    pool.decider.first_byte(ticket, 0.0)
    pool.waits("strict", 100)
    assert pool.recall(0.6) is None


def test_nobody_gives_its_place_whose_first_token_nobody_would_see():
    pool = Pool(limits=EngineLimits(max_num_seqs=1))
    pool.placed(streamed=False)
    pool.waits("strict", 100)
    assert pool.recall(0.6) is None


def test_without_a_limit_nobody_is_urgent():
    pool = Pool()
    pool.placed()
    pool.waits("strict", 100, slo=Slo())
    assert pool.recall(30.0) is None


def test_a_place_that_would_make_no_room_is_left():
    pool = Pool(limits=EngineLimits(max_num_seqs=9, batch_tokens=512))
    pool.placed("batch", 400)
    pool.placed("strict", LONG)
    pool.waits("strict", 100)
    assert pool.recall(0.6) is None


def test_of_several_the_latest_gives_its_place():
    pool = Pool("a", "b")
    pool.placed()
    pool.now = 0.2
    later = pool.placed()
    pool.waits("strict", 100)
    assert pool.recall(1.0) is later


def test_one_that_would_miss_its_own_limit_for_it_keeps_its_place():
    pool = Pool("a", "b")
    ticket = pool.placed(slo=Slo(1.3, None))
    pool.placed("strict", LONG)
    pool.waits("strict", 100)
    assert pool.recall(0.6) is None
    assert ticket.predicted_seconds == pytest.approx(1.1, abs=0.1)


def test_one_that_has_missed_its_limit_anyway_gives_its_place():
    pool = Pool()
    ticket = pool.placed(slo=Slo(0.5, None))
    pool.waits("strict", 100)
    assert pool.recall(0.6) is ticket


def test_a_class_keeps_what_it_is_owed():
    rules = {"strict": ClassRules(10, share=0.6), "batch": ClassRules(0, share=0.4)}
    for before, keeps in ((100, True), (LONG * 10, False)):
        pool = Pool("a", "b", rules=rules)
        for service_class, tokens in (("strict", LONG * 2), ("batch", before)):
            pool.decider.end(pool.placed(service_class, tokens), Reason.COMPLETED, 0.0, 200)
        ticket = pool.placed()
        pool.placed("strict")
        pool.waits("strict", 100)
        assert pool.recall(0.6) is (None if keeps else ticket)


def test_one_is_asked_at_a_time_and_another_when_it_does_not_answer():
    pool = Pool("a", "b")
    tickets = [pool.placed(), pool.placed()]
    pool.waits("strict", 100)
    assert pool.recall(0.6) is tickets[1]
    assert pool.recall(0.65) is None
    assert pool.decider.next_due(0.65) == pytest.approx(0.6 + ANSWER_SECONDS)
    assert pool.recall(0.6 + ANSWER_SECONDS) is tickets[0]


def test_a_first_token_is_an_answer():
    pool = Pool("a", "b")
    tickets = [pool.placed(), pool.placed()]
    pool.waits("strict", 600)
    pool.waits("strict", 600)
    assert pool.recall(0.6) is tickets[1]
    pool.decider.first_byte(tickets[1], 0.6)
    assert pool.recall(0.61) is tickets[0]


def test_one_that_may_not_use_the_room_asks_for_none():
    pool = Pool("a", "b")
    pool.placed()
    pool.placed()
    request = RequestView("back", "m", "strict", 0.0, SLOS["strict"], True, prompt_tokens=100)
    assert pool.decider.submit(request, 0.0, {"a"}) is None
    assert pool.recall(0.6) is None


def test_one_that_was_taken_back_is_let_in_whatever_else_is_refused():
    rules = {"strict": STRICT, "batch": ClassRules()}
    pool = Pool(rules=rules, queue=QueueLimits(requests=1), limits=EngineLimits(max_num_seqs=1))
    ticket = pool.placed(slo=Slo(0.5, None))
    pool.waits("strict", 100)
    assert pool.recall(0.6) is ticket
    assert pool.give_back(ticket) is None  # the queue is full, and its limit has passed
    assert [request.service_class for request, _ in pool.settle()] == ["strict"]
    pool.now = 20.0
    assert pool.settle() == []


def test_but_does_not_wait_longer_than_anybody():
    pool = Pool(queue=QueueLimits(wait_seconds=5.0), limits=EngineLimits(max_num_seqs=1))
    ticket = pool.placed()
    pool.waits("strict", 100)
    pool.give_back(pool.recall(0.6) or ticket)
    pool.settle()
    pool.now = 5.7
    ((_, decision),) = pool.settle()
    assert isinstance(decision, Rejection)
    assert decision.reason is Reason.QUEUE_TIMEOUT


def test_a_quota_is_charged_once():
    quota = Quota(requests=1)
    pool = Pool()
    ticket = pool.placed(quota=quota)
    pool.waits("strict", 100)
    pool.give_back(pool.recall(0.6) or ticket)
    assert pool.submit(quota=quota).reason is Reason.QUOTA_EXCEEDED


def test_where_it_was_it_is_not_cached():
    pool = Pool("a", "b")
    tickets = [pool.placed(prefix=tuple(range(125)), prefix_ends=range(64, 64 * 126, 64)), pool.placed("strict")]
    pool.waits("strict", 100)
    assert pool.recall(0.6) is tickets[0]
    pool.give_back(tickets[0])
    assert pool.decider._demands.of(pool.last).cached == {}


def test_where_no_class_is_above_another_nothing_is_noted_of_anybody():
    pool = Pool(rules={"strict": ClassRules(1), "batch": ClassRules(1)})
    pool.placed()
    assert pool.decider._recalls is None
    pool.waits("strict", 100)
    assert pool.recall(0.6) is None
    pool.decider.set_admission(RULES, QueueLimits())
    assert pool.decider._recalls is not None


def test_the_breaker_learns_nothing_of_it():
    pool = Pool()
    for _ in range(10):
        ticket = pool.placed()
        pool.decider.end(ticket, Reason.TAKEN_BACK, 0.0)
    assert pool.decider.endpoints(0.0)[0].breaker == "closed"


def test_the_journal_says_for_whom():
    pool = Pool()
    ticket = pool.placed()
    strict = pool.waits("strict", 100)
    pool.give_back(pool.recall(0.6) or ticket)
    (record,) = pool.journal.of(ticket.request.request_id)
    assert record.outcome.reason is Reason.TAKEN_BACK
    assert record.recalled_for == strict.request_id


@pytest.mark.parametrize(
    ("priorities", "names"),
    [({}, set()), ({"a": 3}, set()), ({"a": 1, "b": 1}, set()), ({"a": 1, "b": 2, "c": 0}, {"a", "c"})],
)
def test_classes_that_have_one_above_them_yield(priorities, names):
    assert yielding({name: ClassRules(priority) for name, priority in priorities.items()}) == names


class AnyOrder(RuleBasedStateMachine):
    """Arrivals, first tokens, ends, hang-ups, recalls that are obeyed late, obeyed at once or not at all, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool("a", "b", limits=EngineLimits(max_num_seqs=2, batch_tokens=512))
        self.waiting: dict[str, RequestView] = {}
        self.running: dict[str, Ticket] = {}
        self.asked: list[Ticket] = []
        self.outcomes: dict[str, Reason] = {}
        self.taken: set[str] = set()

    def note(self, request, decision):
        name = request.request_id
        assert name not in self.outcomes
        self.waiting.pop(name, None)
        if decision is None:
            self.waiting[name] = request
        elif isinstance(decision, Placement):
            assert name not in self.running  # else it would run twice
            self.running[name] = decision.ticket
        else:
            self.outcomes[name] = decision.reason

    def settle(self):
        for request, decision in self.pool.settle():
            self.note(request, decision)
        ticket = self.pool.decider.recall(self.pool.now)
        if ticket is not None:
            assert ticket.first_at == 0.0
            assert not ticket.request.taken_from
            self.asked.append(ticket)

    def end_one(self, which, reason):
        name = sorted(self.running)[which % len(self.running)]
        self.pool.decider.end(self.running.pop(name), reason, self.pool.now, 200)
        self.outcomes[name] = reason

    @initialize(number=st.integers(0, 4))
    def some_run(self, number):
        for _ in range(number):
            self.arrive("batch", LONG)

    def arrive(self, service_class, tokens, **how):
        decision = self.pool.submit(service_class, tokens, **how)
        self.note(self.pool.last, decision)

    @rule(
        tokens=st.sampled_from([10, 400, 3000]), number=st.integers(1, 3), streamed=st.sampled_from([True, True, False])
    )
    def some_arrive(self, tokens, number, streamed):
        for service_class in ("batch", "patient", "batch")[:number]:
            self.arrive(service_class, tokens, streamed=streamed)

    @rule(tokens=st.sampled_from([10, 400, 3000]), waits=st.floats(0.0, 0.9))
    def urgent_one_arrives(self, tokens, waits):
        self.arrive("strict", tokens)
        self.time(waits)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9))
    def first_byte(self, which):
        ticket = self.running[sorted(self.running)[which % len(self.running)]]
        self.pool.decider.first_byte(ticket, self.pool.now)
        self.settle()

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 9), reason=st.sampled_from([Reason.COMPLETED, Reason.CLIENT_DISCONNECTED]))
    def end(self, which, reason):
        self.end_one(which, reason)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def hang_up(self, which):
        name = sorted(self.waiting)[which % len(self.waiting)]
        assert self.pool.decider.cancel(self.waiting.pop(name))
        self.outcomes[name] = Reason.CLIENT_DISCONNECTED
        self.settle()

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 9), obeys=st.sampled_from([True, True, False]))
    def answer(self, which, obeys):
        """A holder that was asked does what it is asked to, unless it is too late."""
        ticket = self.asked.pop(which % len(self.asked))
        if obeys and ticket.open and not ticket.first_at:
            name = ticket.request.request_id
            assert name not in self.taken
            self.taken.add(name)
            del self.running[name]
            decision = self.pool.give_back(ticket)
            self.note(self.pool.last, decision)
        self.settle()

    @rule(seconds=st.floats(0.01, 1.0))
    def time_passes(self, seconds):
        self.time(seconds)

    def time(self, seconds):
        self.pool.now += seconds
        self.settle()

    @invariant()
    def every_request_is_in_one_place_or_has_one_outcome(self):
        assert len(self.pool.decider._admission.queue) == len(self.waiting)
        assert sum(account.own for account in self.pool.decider._endpoints.accounts.values()) == len(self.running)
        everybody = [*self.waiting, *self.running, *self.outcomes]
        assert len(everybody) == len(set(everybody)) == self.pool._number

    @invariant()
    def places_are_noted_only_while_they_may_be_asked_back(self):
        assert all(ticket.open and not ticket.first_at for ticket in self.pool.decider._recalls._open)

    def teardown(self):
        """Whatever has happened, everything ends, and then nothing is left in the ledger."""
        self.pool.now += 1000.0
        self.settle()
        while self.running:
            self.end_one(0, Reason.COMPLETED)
            self.settle()
        assert not self.waiting
        assert len(self.outcomes) == self.pool._number
        assert Reason.TAKEN_BACK not in self.outcomes.values()
        assert not self.pool.decider._recalls._open
        for account in self.pool.decider._endpoints.accounts.values():
            load = account.load
            assert (load.prefill_tokens, load.decodes, load.kv_tokens, account.own) == (0, 0, 0, 0)
            assert load.tbt_limits == {}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
