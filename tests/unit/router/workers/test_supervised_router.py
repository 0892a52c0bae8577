"""What the supervisor's router says for all its workers."""

import os

import pytest

from fairlead_router.config import RouterConfig
from fairlead_router.contract import BreakerState, EndpointState
from fairlead_router.decisions.types import EndpointView
from fairlead_router.workers.control import Report, Shown
from fairlead_router.workers.link import Message
from fairlead_router.workers.shared_counts import SLOTS, SharedCounts
from fairlead_router.workers.supervised_router import SupervisedRouter


def endpoints(count: int) -> list[EndpointView]:
    return [EndpointView(f"u{n}", f"a:{n}", EndpointState.READY, f"n{n}") for n in range(count)]


@pytest.fixture
def counts():
    descriptor = SharedCounts.create(2)
    yield SharedCounts(descriptor, 2)
    os.close(descriptor)


@pytest.fixture
async def router(counts):
    made = SupervisedRouter(RouterConfig(), counts)
    made.apply(RouterConfig())
    return made


def in_flight(router: SupervisedRouter) -> dict[str, int]:
    return {view.uid: view.in_flight for view in router.endpoints()}


async def test_it_counts_the_requests_of_all_workers_also_on_an_endpoint_that_is_gone(router, counts):
    router.set_endpoints(endpoints(2))
    for row in counts.rows:
        row[router.shown.slots["u0"]] = 3
    assert in_flight(router) == {"u0": 6, "u1": 0}
    router.set_endpoints(endpoints(2)[1:])
    assert {view.uid: view.state for view in router.endpoints()}["u0"] is EndpointState.GONE
    counts.clear(0)
    assert in_flight(router) == {"u0": 3, "u1": 0}
    counts.clear(1)
    assert in_flight(router) == {"u1": 0}


async def test_it_is_ready_only_while_a_worker_serves(router):
    router.set_endpoints([])
    assert router.not_ready_because() == ["no worker serves"]
    assert not router.ready.is_set()
    router.serves(serving=True)
    assert router.not_ready_because() == []
    assert router.ready.is_set()
    router.serves(serving=False)
    assert router.not_ready_because() == ["no worker serves"]


async def test_more_endpoints_than_can_be_counted_change_nothing_and_are_logged(router, caplog):
    router.set_endpoints(endpoints(2))
    router.set_endpoints(endpoints(SLOTS + 1))
    assert len(router.endpoints()) == 2
    assert "more than a router with several workers can count" in caplog.text


async def test_it_shows_the_breakers_that_it_is_told_of(router):
    router.set_endpoints(endpoints(2))
    router.breakers = lambda: {"u1": BreakerState.OPEN, "unknown": BreakerState.OPEN}
    assert [view.breaker for view in router.endpoints()] == [BreakerState.CLOSED, BreakerState.OPEN]


async def test_whoever_follows_it_hears_of_every_change(router):
    heard = []
    router.changed = lambda: heard.append((router.config.pool, len(router.shown.endpoints)))
    router.set_endpoints(endpoints(1))
    router.apply(RouterConfig(pool="other"))
    assert heard == [("local", 1), ("other", 1)]


@pytest.mark.parametrize(
    "said",
    [
        Shown(tuple(endpoints(2)), {"u0": 0, "u1": 5}, complete=True),
        Report({"u0": BreakerState.HALF_OPEN}, {"m": {"edges": [], "series": []}}, asks=17),
    ],
)
def test_what_processes_tell_each_other_arrives_as_it_was_said(said):
    message: Message = said.message()
    assert type(said).of(message) == said
