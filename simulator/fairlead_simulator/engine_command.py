"""`fairlead simulate engine`: reads what is asked for, has it run, and hands out what came of it."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from fairlead_simulator import specs
from fairlead_simulator.asked import AskedWorkload
from fairlead_simulator.capacity import Capacity, Condition, parse_condition, search
from fairlead_simulator.command_line import Command, bad_input, reading
from fairlead_simulator.output import PLOT_SUFFIXES, check_writable, replacing, write_csv, write_timeline
from fairlead_simulator.report import print_capacities, print_runs
from fairlead_simulator.results import RunResult
from fairlead_simulator.runs import Runner, run, runner, search_all
from fairlead_simulator.setup import Setup, make_setup
from fairlead_simulator.simulation import Scenario, StalledError
from fairlead_simulator.workload import Drawn, User, Workload

File = click.Path(path_type=Path)
Count = click.IntRange(min=1)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to write, and where."""

    as_json: bool
    csv: Path | None
    plot: Path | None
    timeline: Path | None

    def check(self) -> None:
        """Raise ValueError before a long run for what could not be written after it."""
        wanted = ((self.csv, (".csv",)), (self.plot, PLOT_SUFFIXES), (self.timeline, (".csv", *PLOT_SUFFIXES)))
        for path, suffixes in wanted:
            if path is not None:
                check_writable(path, suffixes)

    def write(self, runs: Sequence[RunResult]) -> None:
        """Write the files; each appears whole or not at all."""
        if self.csv is not None:
            write_csv(self.csv, runs)
        if self.plot is not None:
            from fairlead_simulator.plots import draw_runs  # noqa: PLC0415 - half a second that most runs do not need

            with replacing(self.plot) as temporary:
                draw_runs(temporary, runs)
        if self.timeline is not None and self.timeline.suffix == ".csv":
            write_timeline(self.timeline, runs)
        elif self.timeline is not None:
            from fairlead_simulator.plots import draw_timeline  # noqa: PLC0415

            with replacing(self.timeline) as temporary:
                draw_timeline(temporary, runs)

    def show(self, runs: Sequence[RunResult], capacities: Sequence[Capacity]) -> None:
        """Print JSON (one object, or a list where there are several) or tables."""
        if self.as_json:
            documents = [item.as_json() for item in capacities or runs]
            click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, allow_nan=False))
        elif capacities:
            print_capacities(capacities)
        else:
            print_runs(runs)


@click.command("engine", cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option(
    "--scheduler",
    "schedulers",
    default="sarathi",
    metavar="NAME[,NAME]",
    help="Schedulers to run; an option follows its name after a colon, as in rad:cycle=100.",
)
@click.option(
    "--profile",
    default="mistral-7b-rtx6000-ada",
    metavar="NAME|FILE",
    help="Batch-time model: one of those of `fairlead-engine --profile`, or a file of `fairlead calibrate`.",
)
@click.option(
    "--trace", type=File, metavar="FILE", help="CSV with num_prefill_tokens and num_decode_tokens; see --lengths."
)
@click.option(
    "--lengths",
    default=None,
    metavar="SPEC",
    callback=reading(specs.lengths),
    help="Instead of --trace: sharegpt, fixed:PROMPT,OUTPUT or "
    "conversations:turns=5,system=512,user=120,answer=250,active=64.  [default: sharegpt]",
)
@click.option(
    "--qps",
    default=None,
    metavar="Q|FROM:TO:STEP",
    callback=reading(specs.rates),
    help="Requests per second, one rate or several.  [default: 1.6, or as the trace has them]",
)
@click.option(
    "--arrivals",
    default="clipped",
    metavar="SPEC",
    help="clipped (exponential gaps, cut at 3 means), poisson, deterministic, gamma:cv=2, "
    "mmpp:ratio=5,burst=10,share=0.1, diurnal:amplitude=0.8,period=86400, or trace (its column arrived_at).",
)
@click.option("--requests", type=Count, default=16_384, help="Requests of each run.")
@click.option("--seed", type=int, default=42, help="The same seed gives the same result, bit for bit.")
@click.option(
    "--users",
    default="strict:0.05:0.1,relaxed:0.95:0.5",
    metavar="SPEC",
    callback=reading(specs.users),
    help="NAME:SHARE:TBT_SECONDS,... The first has the highest priority, for schedulers that know any.",
)
@click.option(
    "--until",
    default=None,
    metavar="SECONDS",
    callback=reading(specs.positive),
    help="Stop then. [default: when all have ended]",
)
@click.option(
    "--max-num-batched-tokens", type=Count, metavar="N", help="Token budget of a batch.  [default: the scheduler's]"
)
@click.option(
    "--max-num-seqs", type=Count, metavar="N", help="Requests that run at a time.  [default: the scheduler's]"
)
@click.option("--max-requests-per-batch", type=Count, metavar="N", help="Requests in one batch.  [default: no limit]")
@click.option("--num-gpu-blocks", type=Count, metavar="N", help="KV blocks of 16 tokens.  [default: 14733]")
@click.option(
    "--first-token-with-prefill", is_flag=True, help="The batch that completes a prompt yields a token, as vLLM's does."
)
@click.option(
    "--enable-prefix-caching",
    "prefix_cache",
    is_flag=True,
    help="Keep blocks of prompts for later requests that begin alike.",
)
@click.option(
    "--capacity",
    metavar="EXPR",
    help="Search the highest rate where this holds, from the rates of --qps upwards and then to 0.01 req/s: terms "
    "joined by `and`, such as ttft.p50<0.5, tbt.strict.p99<=0.1, bounded backlog.",
)
@click.option("--jobs", type=Count, metavar="N", help="Runs at the same time.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--csv", type=File, metavar="FILE", help="Write a row per run.")
@click.option("--plot", type=File, metavar="FILE", help="Draw the runs (.png, .svg or .pdf).")
@click.option("--timeline", type=File, metavar="FILE", help="Write (.csv) or draw requests and memory over time.")
def engine(  # noqa: PLR0913 - click gives every option a parameter
    *,
    schedulers: str,
    profile: str,
    trace: Path | None,
    lengths: Drawn | None,
    qps: tuple[float, ...] | None,
    arrivals: str,
    requests: int,
    seed: int,
    users: tuple[User, ...],
    until: float | None,
    first_token_with_prefill: bool,
    prefix_cache: bool,
    capacity: str | None,
    jobs: int | None,
    as_json: bool,
    csv: Path | None,
    plot: Path | None,
    timeline: Path | None,
    **limits: int | None,
) -> None:
    """Simulate engines: the schedulers and the memory of `fairlead-engine`, in virtual time.

    With no flag it is the evaluation of SLAI (Bari, Hegde, de Veciana, arXiv 2508.01002) at 1.6 requests per second, but
    for the trace, which --trace gives.

    \b
      fairlead simulate engine --scheduler sarathi,slai --requests 2000
      fairlead simulate engine --scheduler slai --qps 0.2:2.0:0.2 --trace trace.csv --plot slai.png --csv slai.csv
      fairlead simulate engine --scheduler sarathi,slai --qps 0.5:3:0.5 --capacity 'ttft.p50<0.5 and bounded backlog'
      fairlead simulate engine --scheduler sarathi --max-num-batched-tokens 128 --max-requests-per-batch 100 \\
        --profile codellama-34b-a100 --lengths fixed:290,990 --arrivals deterministic --qps 2.1413 --requests 1069
    """  # noqa: D301 - click wants the control character
    outputs = Outputs(as_json, csv, plot, timeline)
    asked = AskedWorkload(trace, lengths, arrivals, qps, requests, seed, users)
    switches = {"first_token_with_prefill": first_token_with_prefill, "prefix_cache": prefix_cache}
    given = {name: value for name, value in limits.items() if value is not None}
    with bad_input():
        outputs.check()
        setups = [make_setup(name, profile, given, **switches) for name in schedulers.split(",")]
        workload, rates = asked.build(setups)
        condition = None if capacity is None else parse_condition(capacity, [user.name for user in users])
    study = Study(setups, workload, rates, until)
    try:
        with runner(min(jobs or os.cpu_count() or 1, study.runs_at_a_time), run) as processes:
            capacities = [] if condition is None else study.search(processes, condition)
            runs = [run for found in capacities for run in found.runs] or study.run(processes)
    except StalledError as error:
        raise click.ClickException(str(error)) from error
    with bad_input():
        outputs.write(runs)
    outputs.show(runs, capacities)


@dataclass(frozen=True, slots=True)
class Study:
    """The runs that were asked for: every engine at every rate."""

    setups: Sequence[Setup]
    workload: Workload
    rates: Sequence[float]
    until_seconds: float | None

    @property
    def runs_at_a_time(self) -> int:
        """How many runs could go on side by side."""
        return len(self.setups) * len(self.rates)

    def run(self, processes: Runner[Scenario, RunResult]) -> list[RunResult]:
        """Run everything."""
        return processes.run([self._scenario(setup, qps) for setup in self.setups for qps in self.rates])

    def search(self, processes: Runner[Scenario, RunResult], condition: Condition) -> list[Capacity]:
        """Search each engine's capacity."""
        searches = [(search(self.rates, condition), partial(self._scenario, setup)) for setup in self.setups]
        return search_all(processes, searches)

    def _scenario(self, setup: Setup, qps: float) -> Scenario:
        return Scenario(setup, self.workload, qps, self.until_seconds)
