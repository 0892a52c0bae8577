"""Run now, wait or refuse: the decider with SLAI's admission before it."""

from random import Random
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.appointments import MOST_RETRY_AFTER_SECONDS
from fairlead_router.decisions.class_queue import Waiting
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.room import has_room
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.decisions.types import Demand, EndpointView, Placement, Rejection, RequestView, Slo

LIMITS = EngineLimits(max_num_seqs=4, batch_tokens=512, kv_tokens=100_000)
RULES = {
    "strict": ClassRules(priority=10, share=0.6),
    "batch": ClassRules(share=0.4, on_unreachable=OnUnreachable.QUEUE),
}
SLOS = {"strict": Slo(0.5, 0.1), "batch": Slo(2.0, None)}


def endpoint(uid: str, limits: EngineLimits = LIMITS) -> EndpointView:
    return EndpointView(uid, f"{uid}:1", EndpointState.READY, uid, limits=limits)


class Pool:
    """A decider, and requests to it at a time of its own."""

    def __init__(self, *endpoints: EndpointView, queue: QueueLimits | None = None) -> None:
        queue = queue or QueueLimits()
        self.decider = Decider(POLICIES["rad"](Random(0)), admission=Admission(RULES, queue))
        self.decider.set_endpoints(endpoints or (endpoint("a"),))
        self.now = 0.0
        self.running = {}
        self.ended = []
        self.last: RequestView | None = None
        self._number = 0

    def submit(self, service_class="batch", tokens=100, *, slo=None):
        self._number += 1
        name = str(self._number)
        slo = slo or SLOS[service_class]
        request = RequestView(name, "m", service_class, self.now, slo, streamed=True, prompt_tokens=tokens)
        self.last = request
        decision = self.decider.submit(request, self.now)
        self._note(request, decision)
        return decision

    def submit_again(self, ticket):
        decision = self.decider.submit(ticket.request, self.now, {ticket.endpoint.uid})
        self._note(ticket.request, decision)
        return decision

    def fill(self) -> None:
        while isinstance(self.submit(), Placement):
            pass

    def settle(self):
        settled = self.decider.settle(self.now)
        for request, decision in settled:
            self._note(request, decision)
        return settled

    def end_one(self):
        name = next(iter(self.running))
        self.decider.end(self.running.pop(name), Reason.COMPLETED, self.now, 200)
        return self.settle()

    def _note(self, request, decision):
        if isinstance(decision, Placement):
            self.running[request.request_id] = decision.ticket
        elif decision is not None:
            self.ended.append((request.request_id, decision.reason))


def test_a_request_runs_at_once_where_there_is_room():
    assert isinstance(Pool().submit(), Placement)


def test_a_request_waits_where_there_is_none_and_runs_when_there_is():
    pool = Pool()
    pool.fill()
    pool.now = 0.1
    (request, decision), *_ = pool.end_one()
    assert isinstance(decision, Placement)
    assert not pool.decider.cancel(request)


def test_what_waits_is_served_before_what_comes():
    pool = Pool()
    pool.fill()
    pool.now = 0.2
    name = next(iter(pool.running))
    pool.decider.end(pool.running.pop(name), Reason.COMPLETED, pool.now, 200)
    assert pool.submit() is None


def teach(pool: Pool, base: float = 0.02, token: float = 0.0001) -> None:
    """Let the pace of the endpoints be learnt."""
    for account in pool.decider._endpoints.accounts.values():
        for tokens in range(10, 1010, 100):
            account.pace.observe(tokens, base + token * tokens, 64)


def test_a_class_whose_limit_cannot_be_met_is_refused_at_once_and_told_when_to_come_back():
    pool = Pool()
    teach(pool)
    pool.fill()
    for _ in range(200):
        pool.submit("strict", 400)
    refusal = pool.submit("strict", 400)
    assert isinstance(refusal, Rejection)
    assert refusal.reason is Reason.SLO_UNREACHABLE
    assert 1 <= refusal.retry_after_seconds <= MOST_RETRY_AFTER_SECONDS


def test_who_comes_back_when_told_to_is_let_in_and_others_are_not():
    pool = Pool()
    teach(pool)
    pool.decider._admission.appointments._kept = 1.0  # all have come back of late
    pool.fill()
    while not isinstance(decision := pool.submit("strict", 400), Rejection):
        pass
    refused = pool.last
    for size in range(500, 520):
        pool.submit("strict", size)
    pool.now = float(decision.retry_after_seconds)
    pool.settle()  # what waits has waited for nothing
    others = [pool.submit("strict", size) for size in range(600, 620)]
    assert isinstance(others[-1], Rejection)
    again = refused._replace(arrived_at=pool.now)
    assert pool.decider.submit(again, pool.now) is None


def test_prompts_that_are_before_it_at_the_endpoint_delay_a_request_too():
    pool = Pool()
    teach(pool)
    pool.fill()  # 400 tokens, 70 ms with its own 100
    assert pool.submit("strict", 100, slo=Slo(0.06, 0.1)).reason is Reason.SLO_UNREACHABLE
    assert pool.submit("strict", 100, slo=Slo(0.08, 0.1)) is None


def test_where_predictions_are_bad_what_is_usual_for_the_class_counts():
    pool = Pool()
    teach(pool)
    (account,) = pool.decider._endpoints.accounts.values()
    account.pace.error = 0.9
    for _ in range(3):
        ticket = pool.submit("strict", 100).ticket
        pool.now += 0.3
        pool.decider.first_byte(ticket, pool.now)
    pool.fill()
    assert pool.submit("strict", 100, slo=Slo(0.2, 0.1)).reason is Reason.SLO_UNREACHABLE
    assert pool.submit("strict", 100, slo=Slo(0.4, 0.1)) is None


def test_nobody_is_refused_for_a_pace_that_was_not_learnt():
    pool = Pool()
    pool.fill()
    for _ in range(200):
        assert pool.submit("strict", 400) is None
    pool.now = 0.51
    assert {decision.reason for _, decision in pool.settle()} == {Reason.SLO_UNREACHABLE}


def test_a_class_that_queues_waits_behind_those_that_are_not_late():
    pool = Pool()
    pool.fill()
    for _ in range(300):
        assert pool.submit("batch", 400) is None


def test_a_request_that_has_waited_past_its_limit_is_refused_or_goes_behind():
    pool = Pool()
    pool.fill()
    assert pool.submit("strict") is None
    pool.now = 0.6
    ((_, decision),) = pool.settle()
    assert decision.reason is Reason.SLO_UNREACHABLE
    pool.now = 3.0
    assert pool.settle() == []


def test_nobody_waits_longer_than_the_queue_allows():
    pool = Pool(queue=QueueLimits(wait_seconds=5.0))
    pool.fill()
    pool.now = 5.1
    assert {decision.reason for _, decision in pool.settle()} == {Reason.QUEUE_TIMEOUT}


def test_a_full_queue_refuses():
    pool = Pool(queue=QueueLimits(requests=3))
    pool.fill()
    pool.submit()
    pool.submit()
    assert pool.submit().reason is Reason.QUEUE_FULL


def test_a_request_that_is_not_wanted_any_more_leaves_the_queue():
    pool = Pool()
    pool.fill()
    assert pool.decider.cancel(pool.last)
    assert not pool.decider.cancel(pool.last)
    assert pool.end_one() == []


def test_two_requests_of_one_name_are_two():
    pool = Pool()
    pool.fill()
    first = pool.last
    same = first._replace(prompt_bytes=first.prompt_bytes)
    assert pool.decider.submit(same, 0.0) is None
    assert pool.decider.cancel(first)
    assert pool.decider.cancel(same)


def test_at_most_so_many_are_settled_at_a_time_and_none_is_lost():
    pool = Pool()
    pool.fill()
    for _ in range(3):
        pool.submit()
    pool.decider.set_endpoints([endpoint("a"), endpoint("b")])
    settled = [pool.decider.settle(0.0, most=2) for _ in range(3)]
    assert [len(each) for each in settled] == [2, 2, 0]


def test_at_most_so_many_are_refused_at_a_time():
    pool = Pool(queue=QueueLimits(wait_seconds=5.0))
    pool.fill()
    pool.submit()
    pool.submit()
    pool.now = 6.0
    assert [len(pool.decider.settle(6.0, most=2)) for _ in range(3)] == [2, 1, 0]


def test_other_rules_are_followed_by_those_that_wait():
    pool = Pool()
    pool.fill()
    assert pool.submit("strict") is None
    pool.decider.set_admission({"strict": ClassRules(on_unreachable=OnUnreachable.QUEUE)}, QueueLimits())
    pool.now = 0.6
    assert pool.settle() == []
    assert {request.service_class for request, _ in pool.end_one()} == {"batch"}  # it is late, and goes behind


def test_an_endpoint_that_refuses_does_not_draw_what_waits():
    pool = Pool(endpoint("a"), endpoint("b"))
    pool.fill()
    (name, refused), *_ = [each for each in pool.running.items() if each[1].endpoint.uid == "a"]
    del pool.running[name]
    pool.decider.end(refused, Reason.ENGINE_UNREACHABLE, 0.0)
    assert pool.settle() == []


def test_one_that_waits_tries_an_endpoint_when_its_breaker_lets_it():
    pool = Pool(endpoint("a"), endpoint("b"))
    pool.fill()
    for name, ticket in list(pool.running.items()):
        if ticket.endpoint.uid == "a":
            del pool.running[name]
            pool.decider.end(ticket, Reason.ENGINE_UNREACHABLE, 0.0)
    pool.decider.set_admission(RULES, QueueLimits(wait_seconds=100.0))
    assert pool.settle() == []
    while pool.decider.next_due(pool.now) < 5.0:
        pool.now = pool.decider.next_due(pool.now)
        pool.settle()
    assert pool.decider.next_due(pool.now) == 5.0
    pool.now = 5.0
    ((_, decision),) = pool.settle()
    assert decision.ticket.endpoint.uid == "a"
    assert decision.ticket.trial


def tried_everywhere_but(pool: Pool, uid: str) -> RequestView:
    """A request that has failed elsewhere, and waits."""
    request = RequestView("back", "m", "batch", pool.now, SLOS["batch"], True, prompt_tokens=100)
    assert pool.decider.submit(request, pool.now, {"a", "b"} - {uid}) is None
    return request


def test_a_request_that_may_not_go_back_holds_up_none_that_comes():
    pool = Pool(endpoint("a"), endpoint("b"))
    pool.fill()
    pool.decider.cancel(pool.last)
    tried_everywhere_but(pool, "b")
    (name, ticket), *_ = [each for each in pool.running.items() if each[1].endpoint.uid == "a"]
    del pool.running[name]
    pool.decider.end(ticket, Reason.COMPLETED, 0.0, 200)
    assert pool.settle() == []
    assert pool.submit().ticket.endpoint.uid == "a"


def test_a_request_that_has_nowhere_left_to_go_is_told_so():
    pool = Pool(endpoint("a"), endpoint("b"))
    pool.fill()
    request = tried_everywhere_but(pool, "b")
    pool.decider.set_endpoints([endpoint("a")])
    ((refused, refusal),) = pool.settle()
    assert refused is request
    assert refusal.reason is Reason.NO_ENDPOINT


def test_one_that_waited_until_no_endpoint_was_left_is_told_so():
    pool = Pool()
    pool.fill()
    pool.decider.set_endpoints([])
    pool.now = 100.0
    ((_, refusal),) = pool.settle()
    assert refusal.reason is Reason.NO_ENDPOINT


def test_without_endpoints_nobody_waits():
    pool = Pool()
    pool.decider.set_endpoints([])
    assert pool.submit().reason is Reason.NO_ENDPOINT


@pytest.mark.parametrize(
    ("limits", "before", "roomy"),
    [
        (EngineLimits(2, 512, None), [100], True),
        (EngineLimits(2, 512, None), [100, 100], False),  # requests
        (EngineLimits(9, 512, None), [500], True),
        (EngineLimits(9, 512, None), [600], False),  # its next batch is full
        (EngineLimits(9, 512, 1000), [100], True),
        (EngineLimits(9, 512, 700), [100], False),  # memory
        (EngineLimits(9, 512, 100), [], True),  # an idle endpoint always takes one
    ],
)
def test_an_endpoint_has_room_until_its_resources_are_taken(limits, before, roomy):
    pool = Pool(endpoint("a", limits))
    for tokens in before:
        assert isinstance(pool.submit(tokens=tokens), Placement)
    assert isinstance(pool.submit(), Placement) is roomy


def test_in_a_large_pool_the_last_endpoint_that_has_room_is_found():
    pool = Pool(*(endpoint(f"{number:03}", EngineLimits(1, 512, None)) for number in range(100)))
    assert all(isinstance(pool.submit(), Placement) for _ in range(100))
    assert pool.submit() is None


def test_a_strict_stream_keeps_prompts_away_that_would_slow_it_down():
    limits = EngineLimits(64, 4096, None)
    pool = Pool(endpoint("a", limits))
    teach(pool)
    pool.submit("strict", 10)
    pool.decider.first_byte(next(iter(pool.running.values())), 0.1)
    pool.now = 0.1
    assert pool.submit("batch", 3000) is None
    assert isinstance(pool.submit("strict", 10), Placement)


def test_before_a_pace_is_learnt_nothing_is_kept_away_for_it():
    pool = Pool(endpoint("a", EngineLimits(64, 4096, None)))
    pool.submit("strict", 10)
    assert isinstance(pool.submit("batch", 3000), Placement)


def test_a_limit_that_every_batch_breaks_keeps_nothing_away():
    pool = Pool(endpoint("a", EngineLimits(64, 4096, None)))
    teach(pool, base=0.2)
    pool.submit("strict", 10)
    assert isinstance(pool.submit("batch", 3000), Placement)


def test_an_engine_of_unknown_limits_takes_what_its_next_batch_may_hold_and_the_rest_when_that_is_computed():
    pool = Pool(EndpointView("a", "a:1", EndpointState.READY, "a"))
    before = 0
    while isinstance(pool.submit(tokens=500), Placement):
        before += 1
    assert before == 5  # the last fills what is usual, 2048 tokens
    for ticket in tuple(pool.running.values()):
        pool.decider.first_byte(ticket, 0.0)
    assert len(pool.settle()) == 1
    assert isinstance(pool.submit(tokens=500), Placement)


class AnyOrder(RuleBasedStateMachine):
    """Any sequence of arrivals, first tokens, ends, hang-ups, endpoints, rules and time."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(endpoint("a"), endpoint("b"))
        self.submitted = self.left = 0
        self.waiting: list[RequestView] = []

    @rule(service_class=st.sampled_from(sorted(RULES)), tokens=st.integers(1, 3000))
    def arrive(self, service_class, tokens):
        self.submitted += 1
        if self.pool.submit(service_class, tokens) is None:
            self.waiting.append(self.pool.last)

    @rule(which=st.integers(0, 9))
    def hang_up(self, which):
        if self.waiting:
            self.left += self.pool.decider.cancel(self.waiting.pop(which % len(self.waiting)))
            self.pool.settle()

    @rule(known=st.sets(st.sampled_from(sorted(RULES))), requests=st.integers(0, 9), seconds=st.floats(0.1, 90))
    def other_rules(self, known, requests, seconds):
        rules = {name: RULES[name] for name in known}
        self.pool.decider.set_admission(rules, QueueLimits(requests, 1 << 30, seconds))
        self.pool.settle()

    @rule(which=st.integers(0, 9))
    def first_token(self, which):
        tickets = list(self.pool.running.values())
        if tickets:
            self.pool.decider.first_byte(tickets[which % len(tickets)], self.pool.now)
            self.pool.settle()

    @rule(which=st.integers(0, 9), reason=st.sampled_from([Reason.COMPLETED, Reason.CLIENT_DISCONNECTED]))
    def end(self, which, reason):
        names = list(self.pool.running)
        if names:
            ticket = self.pool.running.pop(names[which % len(names)])
            self.pool.decider.end(ticket, reason, self.pool.now, 200)
            self.left += 1
            self.pool.settle()

    @rule(which=st.integers(0, 9))
    def fail(self, which):
        """An engine refuses; the request goes elsewhere."""
        names = list(self.pool.running)
        if names:
            ticket = self.pool.running.pop(names[which % len(names)])
            self.pool.decider.end(ticket, Reason.ENGINE_UNREACHABLE, self.pool.now)
            if self.pool.submit_again(ticket) is None:
                self.waiting.append(ticket.request)
            self.pool.settle()

    @rule(up=st.sets(st.sampled_from("ab")))
    def endpoints(self, up):
        self.pool.decider.set_endpoints([endpoint(uid) for uid in sorted(up)])
        self.pool.settle()

    @rule(seconds=st.floats(0, 3))
    def time(self, seconds):
        self.pool.now += seconds
        self.pool.settle()

    @invariant()
    def every_request_is_somewhere_exactly_once(self):
        waiting = len(self.pool.decider._admission.queue)
        known = {name for name, _ in self.pool.ended}
        assert len(known) == len(self.pool.ended)
        assert waiting + len(self.pool.running) + len(self.pool.ended) + self.left == self.submitted

    @invariant()
    def the_ledger_is_never_negative_and_zero_when_idle(self):
        for account in self.pool.decider._endpoints.accounts.values():
            load = account.load
            numbers = (load.prefill_tokens, load.decodes, load.kv_tokens, account.own)
            assert min(numbers) >= 0
            if account.own == 0:
                assert numbers == (0, 0, 0, 0)
                assert load.tbt_limits == {}

    @invariant()
    def work_is_conserved(self):
        """Nothing waits at the head that a ready endpoint has room for, one that works if there is any."""
        decider, now = self.pool.decider, self.pool.now
        working = [
            account for account in decider._endpoints.ready if account.breaker.advises(now)
        ] or decider._endpoints.ready
        for entry, owed in decider._admission.queue.heads(now):
            able = [account for account in working if account.uid not in entry.tried]
            assert not any(has_room(account, entry.demand, now, owed=owed) for account in able)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


class Load(NamedTuple):
    """What is there before a request comes: prompts that are computed, streams that run, and requests that wait."""

    prompts: tuple[tuple[str, int], ...]
    streams: tuple[tuple[str, float | None], ...]
    waiting: tuple[tuple[str, int], ...]

    def __add__(self, more: "Load") -> "Load":
        return Load(*(mine + others for mine, others in zip(self, more, strict=True)))

    def pool(self, batch_seconds: float, room: int) -> Pool:
        """Return a pool that has it, of engines whose pace is known."""
        limits = EngineLimits(room, 512, 20_000)
        pool = Pool(endpoint("a", limits), endpoint("b", limits), queue=QueueLimits(requests=9))
        teach(pool, base=batch_seconds)
        decider = pool.decider
        for uid, tokens in self.prompts:
            decider.place(RequestView("", "m", "batch", 0.0, Slo(), True, prompt_tokens=tokens), uid, 0.0)
        for uid, tbt in self.streams:
            ticket = decider.place(RequestView("", "m", "strict", 0.0, Slo(None, tbt), True, prompt_tokens=9), uid, 0.0)
            decider.first_byte(ticket, 0.0)
        for service_class, tokens in self.waiting:
            demand = Demand(RequestView("", "m", service_class, 0.0, SLOS[service_class]), tokens, 100, {})
            decider._admission.queue.add(Waiting(demand, frozenset(), 0.0, 1.0))
        return pool


uids = st.sampled_from("ab")
loads = st.builds(
    Load,
    st.lists(st.tuples(uids, st.integers(1, 2000)), max_size=3).map(tuple),
    st.lists(st.tuples(uids, st.sampled_from([None, 0.001, 0.05, 0.1, 1.0])), max_size=4).map(tuple),
    st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.integers(1, 4000)), max_size=5).map(tuple),
)


@given(
    load=loads,
    more=loads,
    service_class=st.sampled_from(sorted(RULES)),
    tokens=st.integers(1, 8000),
    slo=st.builds(Slo, st.sampled_from([None, 0.1, 0.5, 2.0]), st.sampled_from([None, 0.001, 0.05, 0.1])),
    batch_seconds=st.sampled_from([0.005, 0.02, 0.06]),
    room=st.sampled_from([2, 64]),
)
@settings(deadline=None, max_examples=100)
@example(  # a stream whose limit every batch breaks does not lift the limits of others
    load=Load((), (("a", 0.1), ("b", 0.1)), ()),
    more=Load((), (("a", 0.001),), ()),
    service_class="batch",
    tokens=2000,
    slo=Slo(),
    batch_seconds=0.06,
    room=64,
)
def test_more_load_never_turns_a_refusal_into_an_admission(load, more, service_class, tokens, slo, batch_seconds, room):
    """Nor a wait into a place: what is known of engines and tenants is the same."""
    order = {"runs": 0, "waits": 1, "refused": 2}

    def fate(load: Load) -> int:
        decision = load.pool(batch_seconds, room).submit(service_class, tokens, slo=slo)
        if decision is None:
            return order["waits"]
        return order["refused" if isinstance(decision, Rejection) else "runs"]

    assert fate(load + more) >= fate(load)


class TestPromptsThatAreCached:
    """Prompts of 64 blocks of 16 tokens: a conversation that goes on."""

    TALK = tuple(range(64))
    LARGE = EngineLimits(64, 512, 100_000)

    def pool(self) -> Pool:
        pool = Pool(endpoint("a", self.LARGE), endpoint("b", self.LARGE))
        for uid, talk in (("a", self.TALK), ("b", (-1,))):
            ticket = pool.decider.place(self.request("before", *talk), uid, 0.0)
            pool.decider.end(ticket, Reason.COMPLETED, 0.0, 200)
        return pool

    def request(self, name: str, *prefix: int, service_class: str = "batch") -> RequestView:
        return RequestView(
            name,
            "m",
            service_class,
            0.0,
            SLOS["batch"],
            True,
            prompt_tokens=1030,
            prefix=prefix,
            prefix_ends=range(16, 1040, 16),
        )

    def test_one_goes_where_it_is_cached_even_if_that_is_full(self):
        pool = self.pool()
        pool.fill()
        placed = pool.decider.submit(self.request("again", *self.TALK), 0.0)
        assert isinstance(placed, Placement)
        assert placed.ticket.endpoint.uid == "a"

    def test_one_that_is_cached_nowhere_waits(self):
        pool = self.pool()
        pool.fill()
        assert pool.decider.submit(self.request("other", *range(100, 164)), 0.0) is None

    def test_not_where_so_much_waits_that_computing_it_anew_is_faster(self):
        pool = self.pool()
        pool.fill()
        taken = 0
        while isinstance(pool.decider.submit(self.request(f"again {taken}", *self.TALK), 0.0), Placement):
            taken += 1
        load = pool.decider._endpoints.accounts["a"].load
        assert taken > 10
        assert load.prefill_tokens <= 1030

    def test_an_endpoint_that_is_freed_takes_what_it_has_cached_before_the_first_in_line(self):
        pool = self.pool()
        pool.fill()
        while isinstance(pool.decider.submit(self.request("again", *self.TALK), 0.0), Placement):
            pass
        (name, ticket), *_ = [each for each in pool.running.items() if each[1].endpoint.uid == "a"]
        del pool.running[name]
        pool.decider.end(ticket, Reason.COMPLETED, 0.1, 200)
        pool.now = 0.1
        (request, decision), *_ = pool.settle()
        assert request.request_id == "again"
        assert decision.ticket.endpoint.uid == "a"

    def test_but_not_before_one_of_a_higher_class(self):
        pool = self.pool()
        pool.fill()
        while isinstance(pool.decider.submit(self.request("again", *self.TALK), 0.0), Placement):
            pass
        pool.submit("strict", 100)
        (name, ticket), *_ = [each for each in pool.running.items() if each[1].endpoint.uid == "a"]
        del pool.running[name]
        pool.decider.end(ticket, Reason.COMPLETED, 0.1, 200)
        pool.now = 0.1
        assert pool.settle() == []  # there is no room for the strict one, and nobody goes before it
        pool.decider.cancel(pool.last)
        (request, _), *_ = pool.settle()
        assert request.request_id == "again"
