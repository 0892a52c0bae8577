"""A run: rounds over all scenarios and targets, interleaved, so that what is compared was measured minutes apart at most."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datapath.figures import Cell, rotated
from datapath.machine import place
from datapath.native import MeasuringError, Tools
from datapath.scenarios import Form, Scenario, targets_of
from datapath.targets import DIRECT, Target, UnavailableError
from datapath.window import running

START_AND_STOP_SECONDS = 2.5
"""About what a router takes to start and to stop."""


@dataclass(frozen=True, slots=True)
class Step:
    """One target under one scenario in one round."""

    round: int
    scenario: Scenario
    target: str

    def __str__(self) -> str:
        return f"round {self.round + 1}, {self.scenario.name}, {self.target}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that gave no figures, or not all, and why."""

    step: Step
    why: str


def steps(scenarios: Sequence[Scenario], targets: Sequence[str], rounds: int) -> list[Step]:
    """Return the whole plan: in each round, scenario by scenario, all targets one after another, in a rotated order."""
    return [
        Step(number, scenario, target)
        for number in range(rounds)
        for scenario in scenarios
        for target in rotated(targets_of(scenario, targets), number)
    ]


def expected_seconds(form: Form, plan: Sequence[Step]) -> float:
    """Return about how long a plan takes."""
    return sum(step.scenario.seconds(form) + START_AND_STOP_SECONDS * (step.target != DIRECT) for step in plan)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run needs: the measuring side, the routers, and how long and how much."""

    tools: Tools
    targets: dict[str, Target]
    """All but `direct`."""
    form: Form
    cores: tuple[int, ...]
    """All that may be used."""

    def measure(self, plan: Sequence[Step], begins: Callable[[Step], None]) -> Iterator[Cell | Failure]:
        """Go through a plan; tell of each step when it begins, and give its cells as they come."""
        with tempfile.TemporaryDirectory(prefix="router-bench-") as folder:
            # A web server started by root reads its configuration as somebody else.
            Path(folder).chmod(0o755)
            for step in plan:
                begins(step)
                try:
                    yield from self._cells(step, Path(folder))
                except (UnavailableError, MeasuringError, OSError) as error:
                    # A router that died took its ports with it; the next one is started anew.
                    yield Failure(step, str(error))

    def _cells(self, step: Step, folder: Path) -> Iterator[Cell]:
        placement = place(self.cores, router_cores=step.scenario.router_cores)
        target = None if step.target == DIRECT else self.targets[step.target]
        with running(target, self.tools, placement, folder, self.form.patience) as router:
            for case, figures in step.scenario.measure(router, self.form):
                yield Cell(step.scenario.name, case, step.target, step.round, figures)
