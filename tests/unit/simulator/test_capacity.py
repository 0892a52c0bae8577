"""The search for the highest rate, and the conditions that it searches with."""

from dataclasses import replace

import pytest

from fairlead_engine.batch_time import Linear
from fairlead_engine.limits import Limits
from fairlead_simulator.arrivals import Deterministic
from fairlead_simulator.capacity import Capacity, Condition, parse_condition, paths, search
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.results import RunResult, flat
from fairlead_simulator.runs import run
from fairlead_simulator.setup import Setup
from fairlead_simulator.simulation import Scenario
from fairlead_simulator.workload import Fixed, Workload

USERS = ["strict", "relaxed"]
SERVER = Setup("sarathi", (), "test", Linear(0.01, 0.0), Limits(max_num_seqs=1), first_token_with_prefill=True)
REGULAR = Workload(Deterministic(), Fixed(Lengths(1, 1)), requests=2000)


def measured(qps: float, requests: int = 2000) -> RunResult:
    """One server that needs 10 ms a request: it carries 100 requests per second, and no more."""
    return run(Scenario(SERVER, replace(REGULAR, requests=requests), qps))


TEMPLATE = measured(10.0, requests=10)


def found(grid: list[float], condition: Condition, answers: dict[float, RunResult] | None = None) -> Capacity:
    """Carry out a search, with given results or by simulation."""
    rounds = search(grid, condition)
    asked = next(rounds)
    while True:
        try:
            asked = rounds.send([answers[qps] if answers else measured(qps) for qps in asked])
        except StopIteration as end:
            return end.value


def test_the_capacity_of_one_server_with_regular_arrivals_is_its_service_rate() -> None:
    capacity = found([60.0, 90.0, 120.0], parse_condition("ttft.p99<=0.010001", USERS))
    assert capacity.qps == 100.0
    assert not capacity.exceeds_grid
    assert [result.qps for result in capacity.runs] == sorted(result.qps for result in capacity.runs)


def test_a_bounded_backlog_ends_a_little_above_the_service_rate() -> None:
    # 1.2 times the second quarter's mean, with backlogs that grow linearly from nothing: what a growth of n requests allows
    capacity = found([90.0, 110.0], parse_condition("bounded backlog", USERS))
    assert 100.0 <= capacity.qps <= 100.1


def test_the_capacity_is_below_the_lowest_failing_rate_of_the_grid_even_if_a_higher_one_holds() -> None:
    condition = parse_condition("preemptions<1", USERS)
    failing = replace(TEMPLATE, figures=replace(TEMPLATE.figures, preemptions=5))
    answers = {index / 100: (TEMPLATE if index < 120 else failing) for index in range(1, 200)} | {2.0: TEMPLATE}
    answers |= {qps: replace(answer, qps=qps) for qps, answer in answers.items()}
    assert found([1.0, 1.5, 2.0], condition, answers).qps == 1.19


def test_a_condition_that_holds_everywhere_gives_the_end_of_the_grid() -> None:
    capacity = found([1.0, 2.0], parse_condition("ttft.p50<1", USERS))
    assert (capacity.qps, capacity.exceeds_grid) == (2.0, True)


def test_a_condition_that_holds_nowhere_gives_zero() -> None:
    assert found([0.05], parse_condition("ttft.p50<0.001", USERS)).qps == 0.0


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("ttft.p50<0.02", True),
        ("ttft.p50 < 0.01", False),
        ("ttft.p50<=0.02 and completed>=10", True),
        ("ttft.p50<=0.02, completed>10", False),
        ("completed>9", True),
        ("ttft.p50<2e-2", True),
        ("tbt.strict.p99<1", False),  # requests of one token have no gaps: a figure that is missing does not hold
        ("bounded backlog", True),
        ("ttft.p50<1 and bounded backlog", True),
    ],
)
def test_a_condition_holds_when_all_its_terms_do(text: str, holds: bool) -> None:
    assert parse_condition(text, USERS).holds(TEMPLATE) is holds


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ttft.p51<1", "ttft.p51"),
        ("ttft<1", "'ttft'"),
        ("tbt.premium.p99<1", "tbt.premium.p99"),
        ("ttft.p50=1", "'ttft.p50=1'"),
        ("ttft.p50<x", "'ttft.p50<x'"),
        ("ttft.p50<1 or completed>1", "or"),
        ("", "''"),
    ],
)
def test_a_term_that_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match="--capacity") as raised:
        parse_condition(text, USERS)
    assert named in str(raised.value)


def test_every_figure_that_a_condition_can_name_is_in_the_results() -> None:
    assert set(paths(USERS)) <= set(flat(TEMPLATE.as_json()))
