"""Benchmark of the router's data path: Fairlead beside other routers, nginx, and no router at all.

    .venv/bin/python tests/bench/router run --quick
    .venv/bin/python tests/bench/router run --publish          what `make bench` does
    .venv/bin/python tests/bench/router render

It prints figures, and passes or fails nothing.
"""

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as ScreenTable

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
sys.path.insert(0, str(Path(__file__).parent))

import provenance

from datapath import comparison, tables
from datapath.figures import DISTURBED, Cell, Measured, with_highest_held
from datapath.machine import Placement, available_cores, busy_share, describe, place, raise_open_files
from datapath.native import NoCompilerError, Tools, build
from datapath.page import page
from datapath.results import ROOT, Results, TargetFacts, named
from datapath.run import Bench, Failure, Step, expected_seconds, steps
from datapath.scenarios import FORMS, SCENARIOS
from datapath.targets import DIRECT, Target, UnavailableError, routers, shown_command

CACHE = ROOT / ".cache" / "bench"
RESULT = ROOT / "docs" / "results" / "router-data-path.json"
PAGE = ROOT / "docs" / "performance.md"
LEAST_WIDTH = 150
"""Columns of the widest table."""
console = Console(stderr=True)


class Names(click.ParamType):
    """Names separated by commas, each of them known."""

    name = "NAME,..."

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        names = value.split(",")
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is not known; known are {', '.join(self._known)}", param, ctx)
        return [name for name in self._known if name in names]


@click.group(help=__doc__)
def main() -> None:
    """Take one of the commands."""


@main.command()
@click.option("--quick", "form", flag_value="quick", help="A first impression: one round, short windows.")
@click.option("--short", "form", flag_value="short", help="Seconds: what the tests run. Its figures mean nothing.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds, whatever the form says.")
@click.option("--patience", type=click.IntRange(0), help="How often a disturbed window is measured again.")
@click.option("--only", type=Names(list(SCENARIOS)), help=f"Of {', '.join(SCENARIOS)}.")
@click.option("--targets", type=Names([DIRECT, *routers(CACHE)]), help=f"Of {', '.join([DIRECT, *routers(CACHE)])}.")
@click.option("--fairlead-args", default="", help="Further arguments for fairlead-router, as a shell has them.")
@click.option(
    "--json",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=CACHE / "last.json",
    help="Write the results here, as the run goes.  [default: .cache/bench/last.json]",
)
@click.option("--publish", is_flag=True, help=f"Write {RESULT.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}.")
def run(
    form: str | None,
    rounds: int | None,
    patience: int | None,
    only: list[str] | None,
    targets: list[str] | None,
    fairlead_args: str,
    output: Path,
    publish: bool,
) -> None:
    """Measure, and print the figures."""
    # A run that is told to end stops what it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    chosen = FORMS[form or "full"]
    if patience is not None:
        chosen = replace(chosen, patience=patience)
    available = routers(CACHE / "peers", shlex.split(fairlead_args))
    names = targets or list(chosen.targets) or [DIRECT, *available]
    facts, left_out = prepare(available, [name for name in names if name != DIRECT])
    scenarios = [SCENARIOS[name] for name in only or SCENARIOS]
    plan = steps(scenarios, [name for name in names if name == DIRECT or name in facts], rounds or chosen.rounds)
    if not plan:
        raise click.ClickException(
            f"nothing to measure: none of {', '.join(names)} can be, or not under what was asked for"
        )
    console.print(f"{len(plan)} measurements: about {expected_seconds(chosen, plan) / 60:.0f} minutes")
    head, uncommitted = provenance.committed("router", "tests/bench/router")
    side = measuring_side()

    def results_of(cells: Sequence[Cell], failures: Sequence[str]) -> Results:
        return Results(
            command=command_line(sys.argv[1:]),
            form=chosen.name,
            rounds=len({cell.round for cell in cells}),
            patience=chosen.patience,
            commit=head,
            uncommitted=uncommitted,
            date=provenance.today(),
            machine=describe(len(side.cores)),
            placement={
                "router": named(side.placement.router),
                "pods": named(side.placement.pods),
                "load": named(side.placement.load),
            },
            targets=facts,
            left_out=left_out,
            failures=tuple(failures),
            cells=tuple(cells),
        )

    bench = Bench(side.tools, available, chosen, side.cores)
    for cells, failures in measured(bench, plan, side.placement.load):
        results = results_of(cells, failures)
        output.write_text(results.to_json())
    show(results)
    if publish:
        RESULT.write_text(results.to_json())
        PAGE.write_text(page(Results.from_json(RESULT.read_text())))  # as rounded as the file is


@main.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=RESULT)
def render(results: Path) -> None:
    """Write the page of results anew, from the file of RESULTS."""
    PAGE.write_text(page(Results.from_json(results.read_text())))


def prepare(available: dict[str, Target], names: Sequence[str]) -> tuple[dict[str, TargetFacts], dict[str, str]]:
    """Install what is missing; return the facts of the targets that can be measured, and why others cannot."""
    facts, left_out = {}, {}
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = available[name]
        try:
            facts[name] = TargetFacts(target.what, target.prepare(), shown_command(target, CACHE))
        except UnavailableError as error:
            left_out[name] = str(error)
            console.print(f"left out: {name}: {error}", markup=False, highlight=False)
    return facts, left_out


@dataclass(frozen=True, slots=True)
class MeasuringSide:
    """What measures, and where."""

    tools: Tools
    cores: tuple[int, ...]
    placement: Placement


def measuring_side() -> MeasuringSide:
    """Build the measuring side, and look whether the machine is quiet."""
    cores = available_cores()
    try:
        tools, placement = build(CACHE / "bin"), place(cores)
    except (NoCompilerError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    raise_open_files()
    if (busy := busy_share(cores)) > DISTURBED:
        console.print(
            f"[bold]The machine is not quiet[/]: others have its cores {busy:.0%} busy. Figures will be worse."
        )
    return MeasuringSide(tools, tuple(cores), placement)


def measured(
    bench: Bench, plan: Sequence[Step], own_cores: frozenset[int]
) -> Iterator[tuple[Sequence[Cell], Sequence[str]]]:
    """Go through the plan behind a progress bar; give all cells and failures so far, each time there is one more."""
    cells: list[Cell] = []
    failures: list[str] = []
    # Whatever this process does, it leaves the router's core alone.
    os.sched_setaffinity(0, own_cores)
    shown = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=console, refresh_per_second=1) as progress:
        bar = progress.add_task("", total=len(plan))

        def begins(step: Step) -> None:
            progress.update(bar, description=str(step), completed=plan.index(step))

        for given in bench.measure(plan, begins):
            if isinstance(given, Failure):
                failures.append(f"{given.step}: {given.why}")
                progress.console.print(failures[-1], markup=False, highlight=False)
            else:
                cells.append(given)
            yield cells, failures
        progress.update(bar, completed=len(plan))


def command_line(arguments: Sequence[str]) -> str:
    """Return the command of a run as it can be given again; where its results went does not matter."""
    kept = [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if "--json" not in before.split("=") + word.split("=")
    ]
    return shlex.join(["python", "tests/bench/router", *kept])


def show(results: Results) -> None:
    """Print the tables."""
    measured = Measured(with_highest_held(results.cells))
    screen = Console()
    screen.width = max(screen.width, LEAST_WIDTH)
    compared = [comparison.ratios(measured), comparison.differences(measured)]
    for table in [*tables.of_scenarios(measured), tables.of_measuring_side(measured), *compared]:
        if table.rows:
            shown = ScreenTable(*table.columns, title=table.title, title_justify="left")
            for row in table.rows:
                shown.add_row(*row)
            screen.print(shown)


if __name__ == "__main__":
    main()
