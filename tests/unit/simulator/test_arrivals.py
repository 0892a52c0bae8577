"""Arrival processes."""

from itertools import islice, pairwise
from math import exp
from random import Random
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_simulator.arrivals import Arrivals, Clipped, Deterministic, Diurnal, Gamma, Mmpp, Poisson, Replay

PROCESSES = [Poisson(), Clipped(), Deterministic(), Gamma(), Mmpp(), Diurnal(period=50.0)]


def first(process: Arrivals, count: int, qps: float = 2.0, seed: int = 1) -> list[float]:
    return list(islice(process.times(qps, Random(seed)), count))


def gaps(process: Arrivals, count: int = 50_000) -> list[float]:
    return [after - before for before, after in pairwise(first(process, count))]


@pytest.mark.parametrize("process", PROCESSES)
@given(seed=st.integers(0, 2**32))
def test_times_never_decrease(process: Arrivals, seed: int) -> None:
    times = first(process, 100, seed=seed)
    assert times == sorted(times)
    assert times[0] >= 0


@pytest.mark.parametrize("process", PROCESSES)
def test_the_same_seed_gives_the_same_times(process: Arrivals) -> None:
    assert first(process, 50) == first(process, 50)


@pytest.mark.parametrize(
    "process", [Poisson(), Deterministic(), Gamma(cv=0.5), Gamma(cv=3), Mmpp(), Diurnal(period=50.0)]
)
def test_the_mean_rate_is_the_one_asked_for(process: Arrivals) -> None:
    assert 1 / mean(gaps(process, 200_000)) == pytest.approx(2.0, rel=0.04)


def test_clipped_gaps_stop_at_three_means_and_so_come_faster_than_asked_for() -> None:
    drawn = gaps(Clipped())
    assert max(drawn) == pytest.approx(3 / 2.0)
    assert 1 / mean(drawn) == pytest.approx(2.0 / (1 - exp(-3)), rel=0.02)
    assert Clipped().rate_factor == pytest.approx(1.0524, abs=1e-4)


@pytest.mark.parametrize(("process", "variation"), [(Poisson(), 1.0), (Gamma(cv=3), 3.0), (Gamma(cv=0.5), 0.5)])
def test_gaps_vary_as_much_as_the_process_says(process: Arrivals, variation: float) -> None:
    drawn = gaps(process, 100_000)
    assert pstdev(drawn) / mean(drawn) == pytest.approx(variation, rel=0.05)


def test_a_modulated_process_is_burstier_than_a_poisson_process() -> None:
    drawn = gaps(Mmpp(ratio=20))
    assert pstdev(drawn) / mean(drawn) > 1.3


def test_a_diurnal_process_is_busiest_in_the_middle_of_its_period() -> None:
    times = [time % 50.0 for time in first(Diurnal(amplitude=0.8, period=50.0), 20_000)]
    busy, quiet = sum(20 < time < 30 for time in times), sum(time < 5 or time > 45 for time in times)
    assert busy > 5 * quiet


def test_a_replay_starts_at_zero_keeps_its_times_at_its_own_rate_and_stretches_them_to_another() -> None:
    replay = Replay((10.0, 11.0, 13.0))
    assert first(replay, 5, qps=replay.qps) == [0.0, 1.0, 3.0]
    assert first(replay, 5, qps=replay.qps / 2) == [0.0, 2.0, 6.0]


@pytest.mark.parametrize(
    ("process", "options", "named"),
    [
        (Clipped, {"clip": 0}, "clip"),
        (Gamma, {"cv": 0}, "cv"),
        (Mmpp, {"ratio": 0.5}, "ratio"),
        (Mmpp, {"burst": 0}, "burst"),
        (Mmpp, {"share": 1}, "share"),
        (Diurnal, {"amplitude": 1.5}, "amplitude"),
        (Diurnal, {"period": 0}, "period"),
    ],
)
def test_a_parameter_out_of_range_is_named(process: type, options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        process(**options)
