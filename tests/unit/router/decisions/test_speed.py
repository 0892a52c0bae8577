"""What choices take the paces of endpoints for."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import Pace
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.speed import ALIKE, CLOSE, Speed
from fairlead_router.decisions.types import EndpointView, RequestView, Usage


def teach(pace: Pace, seconds: Callable[[float], float], rounds: int = 60) -> None:
    random = Random(3)
    for _ in range(rounds):
        tokens = random.uniform(10, 600)
        pace.observe(tokens, seconds(tokens), 64)


def test_engines_that_differ_by_a_little_count_as_the_pool_does():
    pool = Pace()
    paces = [Pace(pool) for _ in range(3)]
    for faster, pace in zip((0.97, 1.0, 1.03), paces, strict=True):
        teach(pace, lambda n, faster=faster: faster * (0.01 + 1e-4 * n))
    assert {pace.speed for pace in paces} == {pool.speed}


def test_an_engine_that_is_half_as_fast_counts_as_it_is():
    pool = Pace()
    fast, slow = [Pace(pool) for _ in range(3)], Pace(pool)
    for _ in range(20):
        for pace in fast:
            teach(pace, lambda n: 0.01 + 1e-4 * n, 3)
        teach(slow, lambda n: 0.02 + 2e-4 * n, 3)
    assert slow.speed.base_seconds == pytest.approx(0.02, rel=0.2)
    assert slow.speed.token_seconds > 1.5 * fast[0].speed.token_seconds


def test_an_engine_of_which_nothing_was_seen_counts_as_its_pool_does_meanwhile():
    pool = Pace()
    seen, unseen = Pace(pool), Pace(pool)
    teach(seen, lambda n: 0.001 + 1e-5 * n)
    assert unseen.speed == seen.speed == pool.speed
    assert pool.speed.base_seconds < 0.01


@given(st.lists(st.floats(0.97, 1.03), max_size=100))
def test_what_choices_go_by_stays_while_observations_are_alike(noise):
    pace = Pace()
    teach(pace, lambda n: 0.01 + 1e-4 * n)
    before = pace.speed
    for each in noise:
        pace.observe(200, each * 0.03, 64)
    assert pace.speed is before


def test_what_choices_go_by_follows_what_was_learnt():
    pace = Pace()
    teach(pace, lambda n: 0.01 + 1e-4 * n)
    before = pace.speed
    teach(pace, lambda n: 0.03 + 3e-4 * n, 300)
    assert pace.speed != before
    assert pace.speed.like(pace, CLOSE)


def test_a_first_token_that_takes_longer_is_a_difference():
    pace = Pace()
    before = Speed.of(pace)
    assert before.like(pace, ALIKE)
    pace.bias = 1.5
    assert not before.like(pace, ALIKE)


def test_an_idle_pool_of_like_engines_is_used_evenly():
    """One request after the other: each finds all engines idle, and each engine a little faster or slower than the others."""
    decider, random = Decider(POLICIES["rad"](Random(0))), Random(1)
    decider.set_endpoints([EndpointView(uid, "x:1", EndpointState.READY, uid) for uid in "abcd"])
    shares: Counter[str] = Counter()
    now = 0.0
    for _ in range(400):
        ticket = decider.submit(RequestView("r", "m", "c", now, streamed=True, prompt_bytes=400), now).ticket
        shares[ticket.endpoint.uid] += 1
        now += random.uniform(0.004, 0.006)
        decider.first_byte(ticket, now)
        now += 63 * random.uniform(0.0028, 0.0032)
        decider.end(ticket, Reason.COMPLETED, now, 200, Usage(100, 64))
    assert min(shares.values()) >= 80


def test_what_an_engine_was_never_seen_to_do_is_no_difference():
    """Engines whose batches take as long whatever is in them, one of them always with more: both fits begin alike."""
    pool = Pace()
    small, large = Pace(pool), Pace(pool)
    for _ in range(100):
        small.observe(40, 0.033, 64)
        large.observe(90, 0.033, 64)
    assert small.speed == large.speed == pool.speed
