"""Quantiles in little memory, against exact ones."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_simulator.histogram import Durations, quantile


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 1.0])
@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=300))
def test_a_quantile_is_within_a_fifth_of_a_percent_of_a_sample_of_that_rank(share: float, values: list[float]) -> None:
    durations = Durations(limit_seconds=1.0)
    for value in values:
        durations.add(value)
    exact = sorted(values)[math.floor(share * (len(values) - 1))]
    assert durations.quantile(share) == pytest.approx(exact, rel=0.002)


def test_tail_quantiles_of_many_durations_are_within_a_percent_of_the_interpolated_ones() -> None:
    random = Random(5)
    values = sorted(random.lognormvariate(-3, 0.7) for _ in range(50_000))
    durations = Durations(limit_seconds=0.1)
    for value in values:
        durations.add(value)
    for share in (0.5, 0.99):
        assert durations.quantile(share) == pytest.approx(quantile(values, share), rel=0.01)


@given(st.lists(st.tuples(st.floats(1e-3, 10.0), st.integers(1, 50)), min_size=1))
def test_the_share_above_the_limit_is_exact(rows: list[tuple[float, int]]) -> None:
    durations = Durations(limit_seconds=0.5)
    for seconds, times in rows:
        durations.add(seconds, times)
    over = sum(times for seconds, times in rows if seconds > 0.5 + 1e-9)
    assert durations.share_over == over / sum(times for _, times in rows)


def test_a_duration_equal_to_the_limit_is_not_above_it_although_clocks_are_subtracted() -> None:
    durations = Durations(limit_seconds=0.1)
    durations.add(1000.1 - 1000.0)  # 0.10000000000002274
    assert durations.share_over == 0


def test_nothing_has_no_quantile_and_no_share() -> None:
    assert Durations(1.0).quantile(0.5) is None
    assert Durations(1.0).share_over is None


def test_exact_quantiles_lie_between_neighbours() -> None:
    assert quantile([1.0, 2.0, 4.0, 8.0], 0.5) == 3.0
    assert quantile([7.0], 0.99) == 7.0
