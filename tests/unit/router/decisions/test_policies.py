"""How an endpoint is chosen."""

from collections import Counter
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.config import PolicyName
from fairlead_router.contract import EndpointState
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import EndpointView, RequestView

REQUEST = RequestView("r", "m", "default", arrived_at=0.0)
READY = EndpointState.READY

views = st.builds(
    EndpointView,
    uid=st.text("abc", min_size=1, max_size=3),
    address=st.just("a:1"),
    state=st.sampled_from(EndpointState),
    name=st.just("n"),
    in_flight=st.integers(0, 5),
    suspect=st.booleans(),
)
endpoint_lists = st.lists(views, max_size=6, unique_by=lambda view: view.uid)
policies = pytest.mark.parametrize("name", POLICIES)


def endpoint(uid: str, in_flight: int = 0, state: EndpointState = READY, *, suspect: bool = False) -> EndpointView:
    return EndpointView(uid, "a:1", state, uid, in_flight, suspect)


def test_every_policy_of_the_configuration_exists():
    assert set(POLICIES) == set(get_args(PolicyName))


@policies
@given(endpoints=endpoint_lists)
def test_only_a_ready_endpoint_is_chosen_and_one_always_is_if_there_is_any(name, endpoints):
    choice = POLICIES[name](Random(0)).choose(REQUEST, endpoints)
    eligible = [view for view in endpoints if view.state is READY]
    assert (choice is None) == (not eligible)
    if choice is not None:
        assert choice.endpoint in eligible
        assert choice.endpoint.uid in choice.scores


@policies
@given(endpoints=endpoint_lists)
def test_a_suspect_is_chosen_only_where_all_are(name, endpoints):
    choice = POLICIES[name](Random(0)).choose(REQUEST, endpoints)
    trusted = [view for view in endpoints if view.state is READY and not view.suspect]
    assert choice is None or not choice.endpoint.suspect or not trusted


@given(endpoints=endpoint_lists)
def test_least_loaded_chooses_the_fewest_in_flight(endpoints):
    choice = POLICIES["least-loaded"](Random(0)).choose(REQUEST, [view for view in endpoints if not view.suspect])
    if choice is not None:
        eligible = [view for view in endpoints if view.state is READY and not view.suspect]
        assert choice.endpoint.in_flight == min(view.in_flight for view in eligible)


@policies
@given(count=st.integers(1, 7), rounds=st.integers(1, 5), seed=st.integers())
def test_equal_endpoints_share_exactly_evenly(name, count, rounds, seed):
    policy = POLICIES[name](Random(seed))
    endpoints = [endpoint(str(number)) for number in range(count)]
    chosen = Counter(policy.choose(REQUEST, endpoints).endpoint.uid for _ in range(count * rounds))
    assert chosen == dict.fromkeys(map(str, range(count)), rounds)


def test_round_robin_ignores_load():
    policy = POLICIES["round-robin"](Random(0))
    endpoints = [endpoint("a", 100), endpoint("b", 0)]
    assert {policy.choose(REQUEST, endpoints).endpoint.uid for _ in range(2)} == {"a", "b"}


def test_rotation_keeps_its_place_when_an_endpoint_comes_or_goes():
    policy = POLICIES["round-robin"](Random(0))
    everyone = [endpoint(uid) for uid in "abcd"]
    while policy.choose(REQUEST, everyone).endpoint.uid != "b":
        pass
    assert policy.choose(REQUEST, [endpoint("a"), endpoint("d")]).endpoint.uid == "d"
    assert policy.choose(REQUEST, everyone).endpoint.uid == "a"


def test_replicas_do_not_all_start_with_the_same_endpoint():
    everyone = [endpoint(uid) for uid in "abcd"]
    first = {POLICIES["least-loaded"](Random(seed)).choose(REQUEST, everyone).endpoint.uid for seed in range(40)}
    assert first == set("abcd")
