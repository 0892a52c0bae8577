"""The order in which requests that wait get room."""

from itertools import cycle
from math import log

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_router.decisions.class_queue import Waiting
from fairlead_router.decisions.queue import SHARE_SECONDS, STARVED, Queue
from fairlead_router.decisions.rules import ClassRules, QueueLimits
from fairlead_router.decisions.types import Demand, RequestView, Slo

LIMITS = QueueLimits(requests=100, size_bytes=10_000, wait_seconds=60.0)
RULES = {"high": ClassRules(priority=10, share=0.6), "low": ClassRules(priority=0, share=0.4)}


class Clients:
    """Requests into a queue, and out of it."""

    def __init__(self, rules=RULES, limits=LIMITS) -> None:
        self.queue = Queue(rules, limits)
        self._number = 0

    def wait(
        self, name="", service_class="low", *, at=0.0, tokens=100, tenant="", ttft=4.0, size=10, cached=None, tried=""
    ) -> Waiting:
        self._number += 1
        request = RequestView(
            name or str(self._number), "m", service_class, at, Slo(ttft, None), True, size, tokens, tenant=tenant
        )
        entry = Waiting(Demand(request, tokens, 100, cached or {}), frozenset(tried), at, at + ttft)
        self.queue.add(entry)
        return entry

    def serve(self, now=0.0) -> str:
        head, _ = next(self.queue.heads(0.0))
        self.queue.placed(head, now)
        return head.demand.request.request_id

    def serve_all(self) -> list[str]:
        return [self.serve() for _ in range(len(self.queue))]


def test_the_class_of_higher_priority_goes_first():
    clients = Clients({"high": ClassRules(priority=1), "low": ClassRules()})
    clients.wait("a", "low")
    clients.wait("b", "high", at=1.0)
    assert clients.serve_all() == ["b", "a"]


def test_a_class_that_has_had_less_than_its_share_goes_before_its_betters():
    clients = Clients()
    for _ in range(10):
        clients.wait(service_class="high")
        clients.wait(service_class="low")
    served = [next(clients.queue.heads(0.0))[0].demand.request.service_class for _ in range(10) if clients.serve()]
    assert 3 <= served.count("low") <= 5


def test_shortest_prompt_first_inside_a_window_and_earlier_windows_first():
    clients = Clients()
    clients.wait("long", tokens=900)
    clients.wait("short", at=0.1, tokens=10)
    clients.wait("shorter but later", at=3.0, tokens=1)
    assert clients.serve_all() == ["short", "long", "shorter but later"]


def test_tenants_are_served_by_the_tokens_that_they_have_had():
    clients = Clients()
    for _ in range(8):
        clients.wait(tenant="flood")
    for _ in range(3):
        clients.wait(tenant="other")
    tenants = []
    while clients.queue:
        head, _ = next(clients.queue.heads(0.0))
        tenants.append(head.demand.request.tenant)
        clients.queue.placed(head, 0.0)
    assert tenants[:6].count("other") == 3


def test_what_a_tenant_floods_the_queue_with_does_not_come_before_another_s_request():
    clients = Clients()
    assert clients.queue.tokens_before(demand_of("flood")) == 0
    for _ in range(50):
        clients.wait(tenant="flood")
    assert clients.queue.tokens_before(demand_of("flood")) == 50 * 200
    assert clients.queue.tokens_before(demand_of("other")) == 0
    clients.wait(tenant="other")
    assert clients.queue.tokens_before(demand_of("other")) == 200 + 200  # its own, and one of the flood in between
    for _ in range(50):
        clients.wait(service_class="high", tenant="flood")
    assert clients.queue.tokens_before(demand_of("other")) == 200 + 200 + 50 * 200


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60), st.sampled_from("abcde"))
def test_as_much_is_served_before_a_request_as_was_said(history, tenant):
    """To within one request of every other tenant."""
    clients = Clients()
    for name, is_served in history:
        if is_served and clients.queue:
            clients.serve()
        else:
            clients.wait(tenant=name)
    said = clients.queue.tokens_before(demand_of(tenant))
    entry = clients.wait("the one", tenant=tenant)
    served = 0
    while not entry.gone:
        served += clients.serve() != "the one"
    assert abs(200 * served - said) <= 200 * 4


def demand_of(tenant: str) -> Demand:
    return Demand(RequestView("", "m", "low", 0.0, tenant=tenant), 100, 100, {})


def test_a_request_of_one_among_very_many_tenants_knows_about_how_much_is_before_it():
    clients = Clients(limits=QueueLimits())
    for number in range(100):
        clients.wait(tenant=str(number))
    assert clients.queue.tokens_before(demand_of("7")) == 100 * 200
    assert clients.queue.tokens_before(demand_of("new")) == 0


def test_a_tenant_that_comes_back_has_not_saved_up():
    clients = Clients()
    for _ in range(10):
        clients.wait(tenant="steady")
    for _ in range(6):
        clients.serve()
    for _ in range(6):
        clients.wait(tenant="back")
    tenants = []
    for _ in range(6):
        head, _ = next(clients.queue.heads(0.0))
        tenants.append(head.demand.request.tenant)
        clients.queue.placed(head, 0.0)
    assert tenants.count("steady") >= 2


def test_a_request_that_is_late_goes_behind_those_that_are_not():
    clients = Clients()
    late = clients.wait("late")
    clients.wait("in time", at=3.0)
    clients.queue.demote(late)
    assert clients.serve_all() == ["in time", "late"]


def test_requests_fall_due_when_they_cannot_be_in_time_and_when_their_patience_ends():
    clients = Clients()
    clients.wait("a")
    assert clients.queue.next_due() == 4.0
    assert list(clients.queue.due(3.9)) == []
    (entry,) = clients.queue.due(4.0)
    clients.queue.demote(entry)
    assert clients.queue.next_due() == 60.0
    assert not clients.queue.patience_over(entry, 59.0)
    assert [each.demand.request.request_id for each in clients.queue.due(60.0)] == ["a"]
    assert clients.queue.patience_over(entry, 60.0)


def test_a_request_that_was_taken_out_falls_due_no_more():
    clients = Clients()
    request = clients.wait("a").demand.request
    assert clients.queue.remove(request) is not None
    assert clients.queue.remove(request) is None
    assert list(clients.queue.due(100.0)) == []
    assert list(clients.queue.heads(0.0)) == []


def test_requests_that_their_clients_call_alike_are_two():
    clients = Clients()
    one, other = clients.wait("same"), clients.wait("same")
    assert clients.queue.remove(one.demand.request) is one
    assert len(clients.queue) == 1
    assert clients.serve() == "same"
    assert clients.queue.remove(other.demand.request) is None


def test_a_request_that_may_not_go_everywhere_holds_up_none_that_may():
    clients = Clients()
    clients.wait("back from a", tried="a")
    clients.wait("new", at=1.0)
    clients.wait("back from b", tried="b", at=2.0)
    assert [head.demand.request.request_id for head, _ in clients.queue.heads(2.0)] == [
        "back from a",
        "back from b",
        "new",
    ]
    assert clients.queue.depths() == {"low": 3}
    clients.serve_all()
    assert not any(tried for _, tried in clients.queue._lines)


class TestOtherRules:
    """Rules and limits that change while requests wait."""

    def test_those_that_wait_follow_them(self):
        clients = Clients({"high": ClassRules(priority=1), "low": ClassRules()})
        clients.wait("a", "low")
        clients.wait("b", "high")
        clients.queue.use({"high": ClassRules(), "low": ClassRules(priority=1)}, LIMITS)
        assert clients.serve_all() == ["a", "b"]

    def test_a_class_that_is_not_declared_any_more_is_served_to_its_end(self):
        clients = Clients()
        clients.wait("a", "low")
        clients.wait("b", "high")
        clients.queue.use({"high": ClassRules()}, LIMITS)
        assert clients.queue.depths() == {"low": 1, "high": 1}
        assert set(clients.serve_all()) == {"a", "b"}
        clients.queue.use({"high": ClassRules()}, LIMITS)
        assert clients.queue.depths() == {}

    def test_a_shorter_wait_counts_from_when_a_request_began_to_wait(self):
        clients = Clients()
        entry = clients.wait("a", ttft=100.0)
        clients.queue.use(RULES, QueueLimits(100, 10_000, wait_seconds=5.0))
        assert clients.queue.next_due() == 5.0
        assert clients.queue.patience_over(entry, 5.0)

    def test_a_longer_wait_leaves_a_request_in_peace_until_then(self):
        clients = Clients()
        clients.wait("a", ttft=100.0)
        clients.queue.use(RULES, QueueLimits(100, 10_000, wait_seconds=90.0))
        assert list(clients.queue.due(60.0)) == []
        assert clients.queue.next_due() == 90.0

    def test_a_smaller_queue_turns_nobody_away_that_is_in_it(self):
        clients = Clients()
        for _ in range(3):
            clients.wait()
        clients.queue.use(RULES, QueueLimits(2, 10_000, wait_seconds=60.0))
        assert clients.queue.full
        assert len(clients.serve_all()) == 3


def test_it_is_full_by_requests_and_by_bytes():
    clients = Clients(limits=QueueLimits(requests=2, size_bytes=100, wait_seconds=60.0))
    entry = clients.wait(size=60)
    assert not clients.queue.full
    clients.wait(size=60)
    assert clients.queue.full
    clients.queue.remove(entry.demand.request)
    assert not clients.queue.full


events = st.lists(
    st.tuples(
        st.sampled_from(["wait", "wait", "serve", "remove", "demote"]),
        st.sampled_from(["high", "low"]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 2000),
    ),
    max_size=60,
)


@given(events)
def test_whatever_happens_every_request_leaves_exactly_once_and_the_counts_are_right(happening):
    clients = Clients()
    waiting: dict[str, Waiting] = {}
    now = 0.0
    for what, service_class, tenant, tokens in happening:
        now += 0.1
        if what == "wait":
            entry = clients.wait("", service_class, at=now, tokens=tokens, tenant=tenant)
            waiting[entry.demand.request.request_id] = entry
        elif waiting and what == "serve":
            del waiting[clients.serve(now)]
        elif waiting and what == "remove":
            entry = waiting.pop(next(iter(waiting)))
            assert clients.queue.remove(entry.demand.request) is entry
        elif waiting and what == "demote":
            clients.queue.demote(next(iter(waiting.values())))
        assert len(clients.queue) == len(waiting)
        assert sum(clients.queue.depths().values()) == len(waiting)
        known = sum(line.tokens for line in clients.queue._lines.values())
        assert known == sum(each.demand.prompt_tokens + each.demand.output_tokens for each in waiting.values())
    assert set(clients.serve_all()) == set(waiting)


def test_tenants_that_come_and_go_do_not_fill_the_memory():
    clients = Clients()
    for number in range(5000):
        clients.wait(tenant=str(number))
        clients.serve()
        assert list(clients.queue.heads(0.0)) == []
    assert len(clients.queue._lines["low", frozenset()]._tenants) <= 1001


def test_requests_that_come_and_go_do_not_fill_the_memory():
    clients = Clients()
    for _ in range(5000):
        clients.wait(at=0.0)
        clients.serve()
    assert not clients.queue._timers


def test_requests_that_give_up_do_not_fill_the_memory():
    clients = Clients()
    clients.wait("stays")
    for _ in range(5000):
        entry = clients.wait(at=1.0, cached={"a": 100})
        clients.queue.demote(entry)  # behind one that stays: nobody comes to see that it has gone
        clients.queue.remove(entry.demand.request)
    (tenant,) = clients.queue._lines["low", frozenset()]._tenants.values()
    assert len(tenant.heap) <= 1003
    assert len(clients.queue._at_home["a"]) <= 1003
    clients.serve()
    assert not clients.queue._at_home


@given(
    st.lists(st.integers(1, 4000), min_size=150, max_size=150),
    st.floats(0.05, 0.5),
    st.integers(1, 1000),
)
def test_a_class_with_a_share_gets_most_of_it_however_much_the_others_ask_for(sizes, share, priority):
    clients = Clients(
        {"high": ClassRules(priority=priority), "low": ClassRules(share=share)}, QueueLimits(10_000, 1 << 40)
    )
    served = {"high": 0, "low": 0}
    for step, tokens in enumerate(sizes):
        for service_class in served:
            clients.wait(service_class=service_class, at=0.1 * step, tokens=tokens, ttft=1000.0)
        head, _ = next(clients.queue.heads(0.1 * step))
        clients.queue.placed(head, 0.1 * step)
        served[head.demand.request.service_class] += head.demand.prompt_tokens + head.demand.output_tokens
    largest = max(sizes) + 100
    assert served["low"] >= 0.75 * share * sum(served.values()) - 2 * largest


@given(
    share=st.floats(0.05, 0.5),
    other_share=st.floats(0.0, 0.5),
    before=st.lists(st.tuples(st.sampled_from(["high", "other", "low"]), st.integers(1, 100_000)), max_size=4),
    ahead=st.lists(st.integers(1, 4000), max_size=5),
    flood=st.lists(st.integers(1, 4000), min_size=2, max_size=4),
)
@settings(deadline=None, max_examples=50)
def test_the_wait_of_a_class_with_a_share_is_bounded_whatever_others_ask_for(share, other_share, before, ahead, flood):
    """By how long its share takes for what is before a request, once what was served before does not count any more."""
    rate = 10_000.0  # tokens a second
    rules = {"high": ClassRules(9), "other": ClassRules(5, share=other_share), "low": ClassRules(0, share=share)}
    clients = Clients(rules, QueueLimits(1 << 20, 1 << 40))
    queue, now = clients.queue, 0.0
    for service_class, tokens in before:
        queue.served(Demand(RequestView("", "m", service_class, 0.0), tokens, 0, {}), now)
    own = [clients.wait(tokens=tokens, ttft=1000.0) for tokens in (*ahead, 100)]
    tokens_before = sum(entry.demand.tokens for entry in own)
    to_come = cycle((service_class, tokens) for service_class in ("high", "other") for tokens in flood)
    while not own[-1].gone:
        while len(queue) < len(own) + 4:
            service_class, tokens = next(to_come)
            clients.wait(service_class=service_class, at=now, tokens=tokens, ttft=1000.0)
        head, _ = next(queue.heads(now))
        queue.placed(head, now)
        now += head.demand.tokens / rate
        forgets = SHARE_SECONDS * (log(1 / (STARVED * share)) + log(1 / (1 - STARVED * other_share)))
        assert now <= forgets + (tokens_before + 2 * 4100) / (STARVED * share * rate)
