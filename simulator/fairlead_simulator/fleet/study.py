"""Runs every policy at every rate with every seed, several at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairlead_simulator.fleet.capacity import capacity
from fairlead_simulator.fleet.results import FleetResult
from fairlead_simulator.fleet.scenario import FleetScenario, PolicySpec
from fairlead_simulator.fleet.simulation import simulate_fleet


@dataclass(frozen=True, slots=True)
class FleetStudy:
    """What is asked for; `scenario` stands for all runs, which differ in policy, rate and seed."""

    scenario: FleetScenario
    policies: tuple[PolicySpec, ...]
    rates: tuple[float, ...]
    """Requests per second, or shares of the capacity where that is known."""
    seeds: tuple[int, ...]
    capacity: float | None = None

    @classmethod
    def of_loads(
        cls, scenario: FleetScenario, policies: tuple[PolicySpec, ...], loads: tuple[float, ...], seeds: tuple[int, ...]
    ) -> "FleetStudy":
        """Measure the capacity first."""
        return cls(scenario, policies, loads, seeds, capacity(scenario))

    def runs(self) -> list["FleetRun"]:
        """Return every run."""
        return [
            FleetRun(
                replace(self.scenario, policy=policy, qps=rate * (self.capacity or 1.0), seed=seed), self._load(rate)
            )
            for rate in self.rates
            for policy in self.policies
            for seed in self.seeds
        ]

    def _load(self, rate: float) -> float | None:
        return None if self.capacity is None else rate


@dataclass(frozen=True, slots=True)
class FleetRun:
    """One run, and its load where the capacity is known."""

    scenario: FleetScenario
    load: float | None


def run_fleet(run: FleetRun) -> FleetResult:
    """Simulate one run, and measure how long that takes."""
    scenario = run.scenario
    started = time.perf_counter()
    figures = simulate_fleet(scenario)
    return FleetResult(
        policy=scenario.policy.label,
        scheduler=scenario.pods[0].setup.label,
        pods=len(scenario.pods),
        routers=scenario.routers,
        qps=scenario.qps,
        load=run.load,
        seed=scenario.seed,
        seconds=scenario.seconds,
        wall_seconds=time.perf_counter() - started,
        figures=figures,
    )


def by_policy_and_rate(results: Sequence[FleetResult]) -> list[list[FleetResult]]:
    """Group results of the same policy and rate, in the order in which they come."""
    groups: dict[tuple[str, float], list[FleetResult]] = {}
    for result in results:
        groups.setdefault((result.policy, result.qps), []).append(result)
    return list(groups.values())
