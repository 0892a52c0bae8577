"""How an endpoint is chosen among those that may get the request."""

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

policies = pytest.mark.parametrize("name", POLICIES)


def endpoint(uid: str, in_flight: int = 0) -> EndpointView:
    return EndpointView(uid, "a:1", EndpointState.READY, uid, in_flight)


candidate_lists = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 5), min_size=1).map(
    lambda loads: [endpoint(uid, loads[uid]) for uid in sorted(loads)]
)


def chosen(policy, candidates):
    return policy.choose(REQUEST, candidates)[0].uid


def test_every_policy_of_the_configuration_exists():
    assert set(POLICIES) == set(get_args(PolicyName))


@policies
@given(candidates=candidate_lists, times=st.integers(1, 9))
def test_one_of_the_candidates_that_share_the_best_score_is_chosen(name, candidates, times):
    policy = POLICIES[name](Random(0))
    for _ in range(times):
        picked, scores = policy.choose(REQUEST, candidates)
        assert len(scores) == len(candidates)
        assert scores[candidates.index(picked)] == max(scores)


@given(candidates=candidate_lists)
def test_least_loaded_chooses_the_fewest_in_flight(candidates):
    picked, _ = POLICIES["least-loaded"](Random(0)).choose(REQUEST, candidates)
    assert picked.in_flight == min(each.in_flight for each in candidates)


@policies
@given(count=st.integers(1, 7), rounds=st.integers(1, 5), seed=st.integers())
def test_equal_endpoints_share_exactly_evenly(name, count, rounds, seed):
    policy = POLICIES[name](Random(seed))
    candidates = [endpoint(str(number)) for number in range(count)]
    shares = Counter(chosen(policy, candidates) for _ in range(count * rounds))
    assert shares == dict.fromkeys(map(str, range(count)), rounds)


def test_round_robin_ignores_load():
    policy = POLICIES["round-robin"](Random(0))
    candidates = [endpoint("a", 100), endpoint("b", 0)]
    assert {chosen(policy, candidates) for _ in range(2)} == {"a", "b"}


def test_rotation_keeps_its_place_when_an_endpoint_comes_or_goes():
    policy = POLICIES["round-robin"](Random(0))
    everyone = [endpoint(uid) for uid in "abcd"]
    while chosen(policy, everyone) != "b":
        pass
    assert chosen(policy, [endpoint("a"), endpoint("d")]) == "d"
    assert chosen(policy, everyone) == "a"


def test_replicas_do_not_all_start_with_the_same_endpoint():
    everyone = [endpoint(uid) for uid in "abcd"]
    first = {chosen(POLICIES["least-loaded"](Random(seed)), everyone) for seed in range(40)}
    assert first == set("abcd")
