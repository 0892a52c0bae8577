"""What the benchmark of the data path computes from its measurements."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.comparison import by_resources, two_processes
from datapath.figures import (
    Cell,
    Figures,
    Measured,
    buckets,
    holds,
    least_disturbed,
    limited_by_measuring,
    next_rate,
    quantile_between,
    rotated,
    spread,
    with_highest_held,
)
from datapath.machine import place
from datapath.run import steps
from datapath.scenarios import FULL, SCENARIOS


def cell(target: str, round_number: int, value: float | None) -> Cell:
    return Cell("requests", "c=32", target, round_number, {"requests_per_second": value})


def probe(rate: int, target: str = "router", **figures: float | None) -> Cell:
    good: Figures = {"token_p99_ms": 1.0, "delivered_share": 1.0, "errors": 0.0, "measuring_share": 0.5}
    return Cell("rates", str(rate), target, 0, good | figures)


def test_a_figure_is_shown_as_its_median_and_between_what_it_lay() -> None:
    found = spread([3.0, 1.0, None, 2.0])
    assert found is not None
    assert (found.median, found.least, found.most, found.rounds) == (2.0, 1.0, 3.0, 3)
    assert spread([None]) is None


def test_a_ratio_is_of_two_figures_of_the_same_round() -> None:
    cells = [cell("ours", 0, 200.0), cell("theirs", 0, 100.0), cell("ours", 1, 90.0), cell("theirs", 1, 100.0)]
    assert Measured(cells).ratios("requests", "c=32", "ours", "requests_per_second", to="theirs") == [2.0, 0.9]


def test_a_round_in_which_one_of_the_two_is_missing_has_no_ratio() -> None:
    cells = [cell("ours", 0, 200.0), cell("ours", 1, 90.0), cell("theirs", 1, None), cell("theirs", 2, 0.0)]
    assert Measured(cells).ratios("requests", "c=32", "ours", "requests_per_second", to="theirs") == [None, None, None]


def test_what_a_router_adds_is_above_direct_in_the_same_round() -> None:
    cells = [cell("ours", 0, 3.0), cell("direct", 0, 1.0), cell("ours", 1, 5.0), cell("direct", 1, 4.5)]
    assert Measured(cells).added("requests", "c=32", "ours", "requests_per_second") == [2.0, 0.5]


def test_what_routing_by_resources_costs_is_beside_round_robin_in_the_same_round() -> None:
    measured = Measured([cell("fairlead", 0, 200.0), cell("fairlead-rad", 0, 180.0), cell("fairlead", 1, 100.0)])
    assert by_resources(measured).rows == (("req/s, c=32 (+)", "0.90x"),)


def test_two_processes_are_compared_with_one_that_does_as_much_as_each_and_as_both() -> None:
    cost = "cpu_seconds_per_100k_chunks"
    ones = [Cell("workers", case, "fairlead", 0, {cost: value}) for case, value in (("250", 4.0), ("500", 3.0))]
    twos = [
        Cell("workers", case, "fairlead-2-workers", 0, {cost: value}) for case, value in (("250", 6.0), ("500", 4.2))
    ]
    rows = two_processes(Measured([*ones, *twos])).rows
    assert [ratio for _, ratio in rows] == ["1.05x", "1.40x"]


@pytest.mark.parametrize(
    ("figures", "held"),
    [
        ({}, True),
        ({"token_p99_ms": 49.9, "delivered_share": 0.97}, True),
        ({"token_p99_ms": 50.0}, False),
        ({"delivered_share": 0.969}, False),
        ({"errors": 1.0}, False),
        ({"token_p99_ms": None}, False),
    ],
)
def test_a_rate_is_held_in_time_whole_and_without_an_error(figures: Figures, held: bool) -> None:
    assert holds(probe(10_000).figures | figures) == held


@given(
    rates=st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True).map(sorted), limit=st.integers(0, 10**6)
)
def test_bisecting_finds_the_highest_rate_that_is_held_in_few_tries(rates: list[int], limit: int) -> None:
    held: dict[int, bool] = {}
    while (rate := next_rate(rates, held)) is not None:
        assert rate not in held
        held[rate] = rate <= limit
    assert max((rate for rate, was_held in held.items() if was_held), default=None) == max(
        (rate for rate in rates if rate <= limit), default=None
    )
    assert len(held) <= len(rates).bit_length()


def test_the_highest_rate_held_comes_with_its_figures() -> None:
    cells = [probe(10_000), probe(20_000, token_p99_ms=7.0), probe(30_000, token_p99_ms=80.0)]
    held = with_highest_held(cells)[-1]
    assert (held.scenario, held.figures["held_per_second"], held.figures["token_p99_ms"]) == ("held", 20_000.0, 7.0)
    assert held.figures["limited"] == 0.0


def test_a_router_that_holds_no_rate_has_held_none() -> None:
    assert with_highest_held([probe(10_000, errors=3.0)])[-1].figures["held_per_second"] == 0.0


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([probe(10_000)], "no higher rate was tried"),
        (
            [probe(10_000), probe(20_000, token_p99_ms=80.0, measuring_share=0.99, router_share=0.6)],
            "the measuring side was full",
        ),
    ],
)
def test_a_rate_that_the_measuring_side_limits_is_a_lower_bound(cells: list[Cell], why: str) -> None:
    assert with_highest_held(cells)[-1].figures["limited"] == 1.0, why


def test_a_full_router_is_its_own_limit_whatever_the_measuring_side_does() -> None:
    assert limited_by_measuring({"measuring_share": 0.99, "router_share": 0.5})
    assert not limited_by_measuring({"measuring_share": 0.99, "router_share": 0.99})
    assert not limited_by_measuring({"measuring_share": 0.5, "router_share": 0.5})


@dataclass
class Shared:
    others_share: float


@pytest.mark.parametrize(
    ("shares", "patience", "kept", "settled"),
    [
        ([0.01, 0.0], 2, 0.01, 0),
        ([0.5, 0.02, 0.0], 2, 0.02, 1),
        ([0.5, 0.9, 0.7, 0.0], 2, 0.5, 2),
        ([0.5, 0.0], 0, 0.5, 0),
    ],
)
def test_what_others_disturbed_is_measured_again_and_the_least_disturbed_is_kept(
    shares: list[float], patience: int, kept: float, settled: int
) -> None:
    measurements = iter([Shared(share) for share in shares])
    settles: list[None] = []
    found = least_disturbed(lambda: next(measurements), lambda: settles.append(None), patience)
    assert (found.others_share, len(settles)) == (kept, settled)


EXPOSITION = """
# TYPE lag histogram
lag_bucket{le="0.001",pool="a"} 10.0
lag_bucket{le="0.01",pool="a"} 12.0
lag_bucket{le="+Inf",pool="a"} 12.0
lag_bucket{pool="b",le="0.001"} 5.0
lag_bucket{pool="b",le="0.01"} 5.0
lag_bucket{pool="b",le="+Inf"} 6.0
other_bucket{le="0.001"} 99.0
"""


def test_a_histogram_is_read_over_all_its_labels() -> None:
    assert buckets(EXPOSITION, "lag") == {0.001: 15.0, 0.01: 17.0, float("inf"): 18.0}


def test_a_quantile_between_two_readings_is_the_edge_above_it() -> None:
    before = {0.001: 100.0, 0.01: 100.0, float("inf"): 100.0}
    after = {0.001: 150.0, 0.01: 198.0, float("inf"): 200.0}
    assert quantile_between(before, after, 0.5) == 0.001
    assert quantile_between(before, after, 0.98) == 0.01
    assert quantile_between(before, after, 0.99) == float("inf")
    assert quantile_between(before, before, 0.5) is None


def test_every_round_begins_with_another_target() -> None:
    assert [rotated(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_a_round_measures_all_targets_of_a_scenario_one_after_another() -> None:
    plan = steps([SCENARIOS["requests"], SCENARIOS["memory"]], ["direct", "fairlead", "nginx"], rounds=2)
    assert [(step.round, step.scenario.name, step.target) for step in plan] == [
        (0, "requests", "direct"),
        (0, "requests", "fairlead"),
        (0, "requests", "nginx"),
        (0, "memory", "fairlead"),
        (0, "memory", "nginx"),
        (1, "requests", "fairlead"),
        (1, "requests", "nginx"),
        (1, "requests", "direct"),
        (1, "memory", "nginx"),
        (1, "memory", "fairlead"),
    ]


def test_two_processes_are_compared_with_one_on_the_same_cores_and_nowhere_else() -> None:
    plan = steps(list(SCENARIOS.values()), ["direct", "fairlead", "fairlead-2-workers"], rounds=1)
    assert {step.scenario.name for step in plan if step.target == "fairlead-2-workers"} == {"workers"}
    assert [step.target for step in plan if step.scenario.name == "workers"] == ["fairlead", "fairlead-2-workers"]
    assert not steps([SCENARIOS["workers"]], ["direct", "fairlead"], rounds=1)


def test_the_full_form_has_the_rounds_that_its_medians_need() -> None:
    assert FULL.rounds >= 7


@pytest.mark.parametrize(
    ("cores", "router_cores", "placed"),
    [
        ([0, 1], 1, ({0}, {1}, {1})),
        ([0, 1, 2, 3], 1, ({0}, {1}, {2})),
        ([0, 1], 2, ({0, 1}, {1}, {1})),
        ([0, 1, 2], 2, ({0, 1}, {2}, {2})),
        ([0, 1, 2, 3], 2, ({0, 1}, {2}, {3})),
        ([3, 5], 1, ({3}, {5}, {5})),
    ],
)
def test_the_router_has_its_cores_to_itself_where_there_are_enough(
    cores: list[int], router_cores: int, placed: tuple[set[int], set[int], set[int]]
) -> None:
    placement = place(cores, router_cores=router_cores)
    assert (placement.router, placement.pods, placement.load) == placed


def test_one_core_is_too_few_to_measure_on() -> None:
    with pytest.raises(ValueError, match="needs two cores"):
        place([0])
