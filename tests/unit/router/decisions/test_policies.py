"""How an endpoint is chosen among those that may get the request."""

from collections import Counter
from math import ceil
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.config import PolicyName
from fairlead_router.contract import EndpointState
from fairlead_router.decisions.breaker import Breaker, BreakerSettings
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.pace import EngineLimits, Pace
from fairlead_router.decisions.policies import NAMING_PREFIXES, POLICIES
from fairlead_router.decisions.policies.affinity import MOST_LOAD
from fairlead_router.decisions.types import Demand, EndpointView, RequestView

NOTHING_CACHED: dict[str, int] = {}
policies = pytest.mark.parametrize("name", POLICIES)
sharing_evenly = pytest.mark.parametrize("name", sorted(set(POLICIES) - {"random", "power-of-two"}))


def endpoint(uid: str, in_flight: int = 0, *, prefill: int = 0, kv: int = 0, decodes: int = 0) -> Account:
    view = EndpointView(uid, "a:1", EndpointState.READY, uid, limits=EngineLimits(64, 512, 100_000))
    account = Account(view, Breaker(BreakerSettings()), Pace())
    account.in_flight = in_flight
    account.load.prefill_tokens, account.load.kv_tokens, account.load.decodes = prefill, kv, decodes
    return account


def demand(*prefix: int, tokens: int = 100, cached: dict[str, int] = NOTHING_CACHED) -> Demand:
    return Demand(RequestView("r", "m", "default", 0.0, prefix=prefix), tokens, 200, cached)


candidate_lists = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 5), min_size=1).map(
    lambda loads: [endpoint(uid, loads[uid]) for uid in sorted(loads)]
)


def chosen(policy, candidates, wanted=None):
    return policy.choose(wanted or demand(), candidates).picked.uid


def test_every_policy_of_the_configuration_exists():
    assert set(POLICIES) == set(get_args(PolicyName))


def test_policies_that_look_at_prefixes_exist():
    assert set(POLICIES) >= NAMING_PREFIXES


@policies
@given(candidates=candidate_lists, times=st.integers(1, 9), prefix=st.lists(st.integers(0, 2**64 - 1), max_size=2))
def test_one_of_the_candidates_that_share_the_best_score_is_chosen(name, candidates, times, prefix):
    policy = POLICIES[name](Random(0))
    for _ in range(times):
        choice = policy.choose(demand(*prefix), candidates)
        assert choice.picked in candidates
        assert len(choice.scores) == len(choice.weighed)
        if choice.weighed:
            assert choice.scores[choice.weighed.index(choice.picked)] == max(choice.scores)


@given(candidates=candidate_lists)
def test_least_request_chooses_the_fewest_in_flight(candidates):
    picked = POLICIES["least-request"](Random(0)).choose(demand(), candidates).picked
    assert picked.in_flight == min(each.in_flight for each in candidates)


@sharing_evenly
@given(count=st.integers(1, 7), rounds=st.integers(1, 5), seed=st.integers())
def test_equal_endpoints_share_exactly_evenly(name, count, rounds, seed):
    policy = POLICIES[name](Random(seed))
    candidates = [endpoint(str(number)) for number in range(count)]
    shares = Counter(chosen(policy, candidates) for _ in range(count * rounds))
    assert shares == dict.fromkeys(map(str, range(count)), rounds)


@pytest.mark.parametrize("name", ["random", "power-of-two"])
def test_equal_endpoints_share_about_evenly_by_chance(name):
    policy = POLICIES[name](Random(1))
    candidates = [endpoint(str(number)) for number in range(4)]
    shares = Counter(chosen(policy, candidates) for _ in range(4000))
    assert all(850 < shares[each.uid] < 1150 for each in candidates)


def test_round_robin_ignores_load():
    policy = POLICIES["round-robin"](Random(0))
    candidates = [endpoint("a", 100), endpoint("b", 0)]
    assert {chosen(policy, candidates) for _ in range(2)} == {"a", "b"}


def test_power_of_two_never_takes_the_most_loaded_of_three():
    policy = POLICIES["power-of-two"](Random(0))
    candidates = [endpoint("a", 1), endpoint("b", 2), endpoint("c", 9)]
    assert {chosen(policy, candidates) for _ in range(100)} == {"a", "b"}


def test_least_kv_looks_at_memory_and_not_at_requests():
    candidates = [endpoint("a", 1, kv=9000), endpoint("b", 5, kv=100)]
    assert chosen(POLICIES["least-kv"](Random(0)), candidates) == "b"


@pytest.mark.parametrize(
    ("left", "right", "cached", "picked"),
    [
        ({"in_flight": 3, "prefill": 0}, {"in_flight": 3, "prefill": 500}, {}, "a"),
        ({"in_flight": 3, "prefill": 0}, {"in_flight": 9, "prefill": 0}, {}, "a"),
        ({"in_flight": 3, "prefill": 0}, {"in_flight": 3, "prefill": 0}, {"b": 90}, "b"),
        ({"in_flight": 3, "prefill": 0}, {"in_flight": 99, "prefill": 0}, {"b": 90}, "a"),
    ],
)
def test_lmetric_weighs_prompts_to_compute_against_the_batch(left, right, cached, picked):
    candidates = [endpoint("a", **left), endpoint("b", **right)]
    assert chosen(POLICIES["lmetric"](Random(0)), candidates, demand(cached=cached)) == picked


class TestPrefixHash:
    def test_prompts_that_begin_alike_go_to_the_same_endpoint(self):
        policy = POLICIES["prefix-hash"](Random(0))
        candidates = [endpoint(uid) for uid in "abcd"]
        assert len({chosen(policy, candidates, demand(7, number)) for number in range(20)}) == 1

    def test_prompts_that_begin_differently_are_spread(self):
        policy = POLICIES["prefix-hash"](Random(0))
        candidates = [endpoint(uid) for uid in "abcd"]
        shares = Counter(chosen(policy, candidates, demand(Random(n).getrandbits(64))) for n in range(2000))
        assert min(shares.values()) > 250
        assert len(shares) == 4

    @given(loads=st.lists(st.integers(0, 30), min_size=1, max_size=6), prefix=st.integers(0, 2**64 - 1))
    def test_no_endpoint_gets_more_than_so_many_times_the_mean(self, loads, prefix):
        candidates = [endpoint(str(place), load) for place, load in enumerate(loads)]
        picked = POLICIES["prefix-hash"](Random(0)).choose(demand(prefix), candidates).picked
        assert picked.in_flight < ceil(MOST_LOAD * (sum(loads) + 1) / len(loads))

    @given(prefix=st.integers(0, 2**64 - 1), gone=st.sampled_from("abcd"))
    def test_an_endpoint_that_goes_moves_only_its_own_prompts(self, prefix, gone):
        policy = POLICIES["prefix-hash"](Random(0))
        before = chosen(policy, [endpoint(uid) for uid in "abcd"], demand(prefix))
        after = chosen(policy, [endpoint(uid) for uid in "abcd" if uid != gone], demand(prefix))
        assert before in {after, gone}


class TestRad:
    @pytest.mark.parametrize(
        ("left", "right", "cached", "picked"),
        [
            ({}, {"prefill": 2000}, {}, "a"),  # its prompt would wait
            ({"decodes": 5}, {"decodes": 50}, {}, "a"),  # it would slow fewer down
            ({}, {}, {"b": 90}, "b"),  # there is less to compute
            ({}, {"prefill": 4000}, {"b": 90}, "a"),  # but not behind so much
        ],
    )
    def test_it_goes_where_it_delays_itself_and_others_least(self, left, right, cached, picked):
        candidates = [endpoint("a", **left), endpoint("b", **right)]
        assert chosen(POLICIES["rad"](Random(0)), candidates, demand(cached=cached)) == picked

    def test_a_slow_endpoint_gets_a_request_only_when_the_others_are_busier(self):
        fast, slow = endpoint("a"), endpoint("b")
        for tokens in (10, 500) * 100:
            slow.pace.observe(tokens, 3 * Pace().batch_seconds(tokens), 64)
        policy = POLICIES["rad"](Random(0))
        assert chosen(policy, [fast, slow]) == "a"
        fast.load.decodes = 200
        fast.load.prefill_tokens = 8000
        assert chosen(policy, [fast, slow]) == "b"


def test_rotation_keeps_its_place_when_an_endpoint_comes_or_goes():
    policy = POLICIES["round-robin"](Random(0))
    everyone = [endpoint(uid) for uid in "abcd"]
    while chosen(policy, everyone) != "b":
        pass
    assert chosen(policy, [endpoint("a"), endpoint("d")]) == "d"
    assert chosen(policy, everyone) == "a"


def test_replicas_do_not_all_start_with_the_same_endpoint():
    everyone = [endpoint(uid) for uid in "abcd"]
    first = {chosen(POLICIES["least-request"](Random(seed)), everyone) for seed in range(40)}
    assert first == set("abcd")
