"""A pool under a virtual clock."""

from dataclasses import replace
from math import inf

import pytest

from fairlead_engine.batch_time import Linear
from fairlead_engine.limits import Limits
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.decisions.types import Slo
from fairlead_simulator.fleet.capacity import capacity
from fairlead_simulator.fleet.meter import jain
from fairlead_simulator.fleet.scenario import NAMES, ClassSpec, Failure, FleetScenario, PodSpec, PolicySpec, Stream
from fairlead_simulator.fleet.simulation import simulate_fleet
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.setup import Setup, make_setup
from fairlead_simulator.workload import Conversations, Fixed

SETUP = Setup("sarathi", (), "test", Linear(0.01, 0.0001), Limits(512, 32, 4000), first_token_with_prefill=True)
CLASSES = (
    ClassSpec("strict", Slo(0.5, 0.1), ClassRules(priority=1, share=0.6)),
    ClassSpec("batch", Slo(5.0, None), ClassRules(share=0.4, on_unreachable=OnUnreachable.QUEUE)),
)
STREAMS = (
    Stream("strict", 0.5, Fixed(Lengths(200, 40)), tenants=(("a", 1.0), ("b", 1.0))),
    Stream("batch", 0.5, Fixed(Lengths(400, 100)), tenants=(("c", 1.0),)),
)


def scenario(policy: str = "least-request", **changes: object) -> FleetScenario:
    made = FleetScenario(
        (PodSpec(SETUP),) * 3, PolicySpec.parse(policy), CLASSES, STREAMS, qps=40.0, seconds=10.0, drain_seconds=60.0
    )
    return replace(made, **changes)


@pytest.mark.parametrize("policy", [*NAMES, "least-request+slai", "llm-d+slai", "rad-slai"])
@pytest.mark.parametrize("routers", [1, 2])
def test_every_request_is_accounted_for_exactly_once(policy, routers):
    made = scenario(policy, routers=routers)
    figures = simulate_fleet(made)
    assert figures.offered == sum(1 for _ in made.arrivals())
    for of_class in figures.classes.values():
        assert of_class.offered == of_class.completed + of_class.rejected + of_class.failed
        assert of_class.good <= of_class.completed


def test_the_same_scenario_gives_the_same_figures():
    assert simulate_fleet(scenario("rad")) == simulate_fleet(scenario("rad"))


def test_another_seed_gives_other_requests():
    assert simulate_fleet(scenario(seed=1)) != simulate_fleet(scenario(seed=2))


def test_a_policy_does_not_change_what_is_asked():
    assert list(scenario("rad").arrivals()) == list(scenario("random").arrivals())


def test_a_light_load_is_served_well_by_every_policy():
    for policy in NAMES:
        assert simulate_fleet(scenario(policy, qps=3.0)).goodput == 1.0


def test_a_slow_pod_hurts_who_does_not_look():
    slow = (PodSpec(SETUP), PodSpec(SETUP), PodSpec(SETUP, slowness=6.0))
    blind = simulate_fleet(scenario("round-robin", pods=slow, qps=25.0)).goodput
    seeing = simulate_fleet(scenario("least-request", pods=slow, qps=25.0)).goodput
    assert seeing > blind


def test_requests_of_a_pod_that_is_lost_fail_if_they_had_begun_and_go_elsewhere_if_not():
    figures = simulate_fleet(scenario(failures=(Failure(0, 5.0, inf),)))
    failed = sum(of_class.failed for of_class in figures.classes.values())
    rejected = sum(of_class.rejected for of_class in figures.classes.values())
    assert 0 < failed < 40
    assert rejected == 0
    assert figures.busy[0] < 0.6


def test_a_pod_that_comes_back_works_again():
    away = simulate_fleet(scenario(failures=(Failure(0, 3.0, inf),))).busy[0]
    back = simulate_fleet(scenario(failures=(Failure(0, 3.0, 4.0),))).busy[0]
    assert back > away + 0.2


def test_without_any_pod_everything_is_refused():
    away = tuple(Failure(pod, 0.0, inf) for pod in range(3))
    figures = simulate_fleet(scenario(failures=away))
    assert figures.good == 0
    assert sum(of_class.rejected for of_class in figures.classes.values()) == figures.offered


def test_cached_prefixes_are_found_by_who_looks_for_them():
    setup = replace(SETUP, prefix_cache=True)
    talk = (Stream("batch", 1.0, Conversations(turns=8, system=1000, active=12)),)
    made = scenario(pods=(PodSpec(setup),) * 3, streams=talk, qps=12.0)

    def median(policy):
        return simulate_fleet(replace(made, policy=PolicySpec.parse(policy))).classes["batch"].ttft_p50

    assert median("lmetric") < 0.8 * median("random")


def test_capacity_is_what_full_engines_finish():
    made = scenario(streams=(STREAMS[1],))
    # A batch of 512 tokens takes 61.2 ms; a request has 400 prompt tokens and 99 decodes, 32 run at a time.
    bound = 3 * 512 / 0.0612 / 499
    assert 0.5 * bound < capacity(made) <= bound
    assert capacity(replace(made, pods=made.pods[:1])) == pytest.approx(capacity(made) / 3)


def test_overload_is_refused_early_and_the_strict_class_keeps_its_limits():
    made = scenario(seconds=30.0)
    made = replace(made, qps=1.2 * capacity(made))
    shipped = simulate_fleet(made)
    ours = simulate_fleet(replace(made, policy=PolicySpec.parse("rad")))
    assert ours.classes["strict"].goodput > 0.95
    assert ours.goodput > shipped.goodput


def test_places_that_are_taken_back_let_the_strict_class_begin_in_time(monkeypatch):
    """Prompts of 6000 tokens take an engine most of a second, and a strict request has less than that."""
    streams = (
        Stream("strict", 0.7, Fixed(Lengths(100, 20))),
        Stream("batch", 0.3, Fixed(Lengths(6000, 20))),
    )
    made = scenario("rad", streams=streams, qps=11.0, seconds=30.0)
    ours = simulate_fleet(made)
    monkeypatch.setattr(Decider, "recall", lambda *_: None)
    without = simulate_fleet(made)
    assert ours.classes["strict"].goodput > 0.97
    assert ours.classes["strict"].goodput > without.classes["strict"].goodput + 0.05
    assert ours.classes["batch"].goodput == 1.0
    assert sum(each.completed + each.rejected for each in ours.classes.values()) == ours.offered


@pytest.mark.parametrize(("routers", "ttft"), [(2, 0.5), (4, 2.0)])
def test_several_routers_that_know_nothing_of_one_another_admit_no_more_than_one(routers, ttft):
    """Each sees the others' requests only in that first tokens come later, and keeps that much time to spare."""
    streams = (Stream("strict", 1.0, Fixed(Lengths(100, 50))),)
    classes = (ClassSpec("strict", Slo(ttft, 0.1)),)
    made = scenario("rad", streams=streams, classes=classes, seconds=30.0)
    made = replace(made, qps=1.5 * capacity(made))

    def admitted_and_good(number: int) -> tuple[int, int]:
        figures = simulate_fleet(replace(made, routers=number)).classes["strict"]
        return figures.offered - figures.rejected, figures.good

    admitted, good = admitted_and_good(1)
    admitted_by_several, good_by_several = admitted_and_good(routers)
    assert admitted_by_several < 1.05 * admitted
    assert good_by_several > 0.95 * good


@pytest.mark.parametrize(("shares", "index"), [([1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([], None)])
def test_jains_index(shares, index):
    assert jain(shares) == index


class TestThroughputOptimality:
    """Random routing with RAD in every engine carries whatever can be carried (arXiv 2508.01002, theorem 2)."""

    def overloaded(self, policy: str) -> FleetScenario:
        engine = make_setup("rad", "llama-2-7b-a100", {}, first_token_with_prefill=True, prefix_cache=False)
        one_class = (ClassSpec("default"),)
        streams = (Stream("default", lengths=Fixed(Lengths(512, 64))),)
        made = scenario(policy, pods=(PodSpec(engine),) * 4, classes=one_class, streams=streams, seconds=40.0)
        return replace(made, qps=1.3 * capacity(made), drain_seconds=0.0, queue=QueueLimits(1 << 30, 1 << 60, 1e6))

    def test_ours_finishes_as_many_requests_of_an_overload(self):
        random, ours = (simulate_fleet(self.overloaded(policy)) for policy in ("random", "rad"))
        assert ours.classes["default"].completed >= 0.98 * random.classes["default"].completed

    def test_and_below_it_waits_less(self):
        def mean_ttft(policy: str) -> float:
            made = self.overloaded(policy)
            figures = simulate_fleet(replace(made, qps=made.qps / 1.3 * 0.9, drain_seconds=120.0))
            return figures.classes["default"].ttft_mean or 0.0

        assert mean_ttft("rad") < 0.9 * mean_ttft("random")
