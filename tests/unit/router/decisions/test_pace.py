"""The fit of an endpoint's batch time."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.pace import Pace


def taught(base: float, token: float, *, noise: float = 0.0, spread: int = 400, rounds: int = 300) -> Pace:
    pace, random = Pace(), Random(3)
    for _ in range(rounds):
        tokens = random.uniform(100, 100 + spread)
        pace.observe(tokens, (base + token * tokens) * random.uniform(1 - noise, 1 + noise), 64)
    return pace


@pytest.mark.parametrize(("base", "token"), [(0.01, 0.0001), (0.03, 0.00005), (0.002, 0.001)])
def test_a_linear_engine_is_learnt(base, token):
    pace = taught(base, token, noise=0.1)
    assert pace.batch_seconds(50) == pytest.approx(base + 50 * token, rel=0.2)
    assert pace.batch_seconds(500) == pytest.approx(base + 500 * token, rel=0.05)


def test_an_engine_that_becomes_slower_is_followed():
    pace = taught(0.01, 0.0001)
    for _ in range(300):
        pace.observe(200, 0.09, 64)
    assert pace.batch_seconds(200) == pytest.approx(0.09, rel=0.05)


def test_where_all_batches_are_alike_others_are_what_is_usual():
    pace = taught(0.03, 0.0, spread=0)
    assert pace.batch_seconds(100) == pytest.approx(0.03, rel=0.05)
    assert pace.batch_seconds(500) > pace.batch_seconds(100)


def test_short_streams_teach_nothing():
    pace, before = Pace(), Pace()
    pace.observe(100, 9.0, 3)
    assert pace.batch_seconds(100) == before.batch_seconds(100)


def test_a_new_endpoint_begins_as_the_pool_is():
    pool = taught(0.05, 0.0002)
    assert Pace(pool).batch_seconds(300) == pytest.approx(pool.batch_seconds(300), rel=0.01)


@given(st.lists(st.tuples(st.floats(0.1, 5000), st.floats(1e-4, 100), st.integers(1, 1000)), max_size=50))
def test_more_tokens_never_take_less_time_and_none_takes_less_than_nothing(observations):
    pace = Pace()
    for tokens, seconds, batches in observations:
        pace.observe(tokens, seconds, batches)
    assert 0 <= pace.batch_seconds(0) <= pace.batch_seconds(1) <= pace.batch_seconds(10_000)


def test_a_prompt_is_computed_in_chunks_beside_the_decodes():
    pace = taught(0.01, 0.0001)
    one = pace.prefill_seconds(400, 100, 512)
    assert one == pytest.approx(pace.batch_seconds(500), rel=0.01)
    assert pace.prefill_seconds(4 * 412, 100, 512) == pytest.approx(4 * pace.batch_seconds(512), rel=0.01)


def test_predictions_that_are_always_too_low_are_corrected_and_known_to_be_wrong():
    pace = Pace()
    for _ in range(200):
        pace.predicted(pace.prefill_seconds(400, 0, 512), 0.2)
    assert pace.prefill_seconds(400, 0, 512) == pytest.approx(0.2, rel=0.05)
    assert pace.error < 0.1
    pace.predicted(0.5, 50.0)
    assert pace.error > 0.04
