"""Goodput of a pool of 8 engines under four workloads, by policy, at and beyond its capacity: in virtual time.

    .venv/bin/python tests/bench/fleet_goodput.py --publish                 about 20 minutes on two cores
    .venv/bin/python tests/bench/fleet_goodput.py --short                   seconds: what the tests run
    .venv/bin/python tests/bench/fleet_goodput.py render                    the page anew, from the file of results

Goodput: the share of the requests offered that met the TTFT limit and every TBT limit of their class. It prints figures,
and passes or fails nothing.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import provenance

from fairlead_router.decisions.rules import ClassRules, OnUnreachable
from fairlead_router.decisions.types import Slo
from fairlead_simulator.arrivals import Mmpp
from fairlead_simulator.fleet.plots import draw_fleet
from fairlead_simulator.fleet.results import FleetResult
from fairlead_simulator.fleet.scenario import ClassSpec, FleetScenario, PodSpec, PolicySpec, Stream
from fairlead_simulator.fleet.study import FleetStudy, by_policy_and_rate, run_fleet
from fairlead_simulator.output import replacing
from fairlead_simulator.runs import runner
from fairlead_simulator.setup import make_setup
from fairlead_simulator.workload import Conversations, ShareGpt

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "fleet-goodput.json"
PAGE = ROOT / "docs" / "goodput.md"
PODS = 8
LOADS = (0.7, 0.9, 1.0, 1.2)
SEEDS = (1, 2, 3)
SECONDS = 120.0
POLICIES = (
    "rad", "least-request", "round-robin", "power-of-two", "least-kv", "prefix-hash", "lmetric", "llm-d",
    "least-request+slai", "prefix-hash+slai", "lmetric+slai", "llm-d+slai",
)  # fmt: skip
BESIDE = ("least-request", "llm-d")
LOADED, NEARLY_ALL = 0.9, 0.87
ENGINE = make_setup("sarathi", "llama-3-8b-a100", {}, first_token_with_prefill=True, prefix_cache=False)
ONE_CLASS = (ClassSpec("default", Slo(2.0, 0.1)),)
TWO_CLASSES = (
    ClassSpec("interactive", Slo(2.0, 0.1), ClassRules(priority=10, share=0.6)),
    ClassSpec("batch", Slo(20.0, None), ClassRules(share=0.4, on_unreachable=OnUnreachable.QUEUE)),
)


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of the pool."""

    title: str
    what: str
    classes: tuple[ClassSpec, ...]
    streams: tuple[Stream, ...]
    prefix_cache: bool = False
    slow_pods: int = 0

    def scenario(self) -> FleetScenario:
        """Return the run that stands for all of them."""
        pod = PodSpec(replace(ENGINE, prefix_cache=self.prefix_cache))
        pods = (pod,) * (PODS - self.slow_pods) + (replace(pod, slowness=2.0),) * self.slow_pods
        return FleetScenario(pods, PolicySpec.parse("rad"), self.classes, self.streams, qps=1.0, seconds=SECONDS)


WORKLOADS = {
    "sharegpt": Workload(
        "ShareGPT lengths", "One class, TTFT 2 s and TBT 100 ms; Poisson arrivals.", ONE_CLASS, (Stream("default"),)
    ),
    "prefixes": Workload(
        "Shared prefixes",
        "256 conversations of 8 turns over a system prompt of 2 000 tokens; engines with prefix caches; one class.",
        ONE_CLASS,
        (Stream("default", lengths=Conversations(turns=8, system=2000, user=200, answer=250, active=256)),),
        prefix_cache=True,
    ),
    "classes": Workload(
        "Two classes",
        "Half of the requests interactive (TTFT 2 s, TBT 100 ms, priority, share 60), half batch (TTFT 20 s, share 40, "
        "`onUnreachable: queue`); ShareGPT lengths.",
        TWO_CLASSES,
        (Stream("interactive", 0.5, ShareGpt()), Stream("batch", 0.5, ShareGpt())),
    ),
    "bursts": Workload(
        "Bursts and a slow pod",
        "A fifth of the time in bursts of 10 s with four times the rate; one pod takes twice as long; one class.",
        ONE_CLASS,
        (Stream("default", arrivals=Mmpp(ratio=4.0, burst=10.0, share=0.2)),),
        slow_pods=1,
    ),
}


def measure(workload: Workload, *, short: bool, jobs: int) -> tuple[float, list[FleetResult]]:
    """Run every policy at every load with every seed; returns the capacity and the results."""
    scenario = workload.scenario()
    loads, seeds = (LOADS, SEEDS) if not short else ((1.0,), (1,))
    if short:
        scenario = replace(scenario, seconds=3.0, drain_seconds=5.0, pods=scenario.pods[-2:])
    study = FleetStudy.of_loads(scenario, tuple(PolicySpec.parse(name) for name in POLICIES), loads, seeds)
    runs = study.runs()
    with runner(jobs, run_fleet) as processes:
        results = processes.run(runs)
    return study.capacity or 0.0, results


def row_of(group: Sequence[FleetResult]) -> dict[str, Any]:
    """Sum up one policy at one load: means over the seeds."""
    goodput = [result.figures.goodput or 0.0 for result in group]
    classes = {
        name: fmean(result.figures.classes[name].goodput or 0.0 for result in group)
        for name in group[0].figures.classes
    }
    return {
        "policy": group[0].policy,
        "load": group[0].load,
        "goodput": fmean(goodput),
        "spread": stdev(goodput) if len(goodput) > 1 else 0.0,
        "classes": classes,
        "ttft_p50": fmean(next(iter(result.figures.classes.values())).ttft_p50 or 0.0 for result in group),
        "waste": fmean(result.figures.waste or 0.0 for result in group),
    }


def page(document: dict[str, Any]) -> str:
    """Write the page of results."""
    lines = [
        "# Goodput of a pool", "",
        "What [`fairlead simulate fleet`](simulator.md#a-pool) finds under four workloads. This page is written by",
        "`tests/bench/fleet_goodput.py`: do not edit it.", "",
        "```sh", document["command"], "```", "",
        f"{PODS} engines ({ENGINE.profile}, {ENGINE.label}), {SECONDS:.0f} s of arrivals, {len(SEEDS)} seeds.", "",
        "Goodput is the share of the requests **offered** that met the TTFT limit and every TBT limit of their class; load is the",
        "rate over the pool's capacity, which is what its engines finish when each is supplied from one backlog. Policies run as",
        "their authors ship them; `+slai` puts our queue and admission before them, as `rad` has them. Nobody, not even who knows the",
        "future, can have more than 100 %: where another policy has more than 87 %, the last table tells how much of the rest `rad` gets.", "",
    ]  # fmt: skip
    for name, found in document["workloads"].items():
        workload = WORKLOADS[name]
        lines += [f"## {workload.title}", "", f"{workload.what} Capacity {found['capacity']:.1f} req/s.", ""]
        lines += [f"Simulated on {found['date']}, commit `{found['commit'][:12]}`.", ""]
        lines += [f"![Goodput over load, {workload.title.lower()}](goodput-{name}.svg)", ""]
        loads = sorted({row["load"] for row in found["rows"]})
        lines += ["| policy | " + " | ".join(f"load {load:g}" for load in loads) + " |", "|---|" + "---|" * len(loads)]
        for policy in dict.fromkeys(row["policy"] for row in found["rows"]):
            rows = {row["load"]: row for row in found["rows"] if row["policy"] == policy}
            lines.append(f"| `{policy}` | " + " | ".join(_cell(rows[load]) for load in loads) + " |")
        lines += ["", *_beside(found["rows"], [load for load in loads if load >= LOADED]), ""]
    return "\n".join(lines)


def _beside(rows: Sequence[dict[str, Any]], loads: Sequence[float]) -> list[str]:
    """Compare `rad` with what others ship, where there is much to do."""
    goodput = {(row["policy"], row["load"]): row["goodput"] for row in rows}
    lines = ["| `rad` beside | " + " | ".join(f"load {load:g}" for load in loads) + " |", "|---|" + "---|" * len(loads)]
    for other in BESIDE:
        cells = (_compared(goodput["rad", load], goodput[other, load]) for load in loads)
        lines.append(f"| `{other}` | " + " | ".join(cells) + " |")
    return lines


def _compared(ours: float, theirs: float) -> str:
    """Return how many times as much, or where nobody can have much more, how much of what was missing to 100 %."""
    if theirs <= NEARLY_ALL:
        return f"{ours / theirs:.2f}x"
    return f"{(ours - theirs) / (1 - theirs):.0%} of what it misses" if theirs < 1 else "as good"


def _cell(row: dict[str, Any]) -> str:
    cell = f"{row['goodput']:.1%} ±{row['spread']:.1%}"
    if len(row["classes"]) > 1:
        cell += " (" + ", ".join(f"{name} {value:.1%}" for name, value in row["classes"].items()) + ")"
    return cell


@click.group(help=__doc__, invoke_without_command=True)
@click.option("--short", is_flag=True, help="Seconds: what the tests run. Its figures mean nothing.")
@click.option("--publish", is_flag=True, help="Write docs/results/fleet-goodput.json, docs/goodput.md and its plots.")
@click.option("--only", default=",".join(WORKLOADS), help="Of these workloads; what is published of others stays.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Runs at the same time.")
@click.pass_context
def main(context: click.Context, *, short: bool, publish: bool, only: str, jobs: int) -> None:
    """Simulate, and print the figures."""
    if context.invoked_subcommand is not None:
        return
    document: dict[str, Any] = {
        "command": "python tests/bench/fleet_goodput.py --publish",
        "workloads": json.loads(RESULT.read_text())["workloads"] if publish and RESULT.exists() else {},
    }
    for name in only.split(","):
        workload = WORKLOADS[name]
        capacity, results = measure(workload, short=short, jobs=jobs)
        groups = by_policy_and_rate(results)
        rows = [row_of(group) for group in groups]
        known = {"commit": provenance.commit("engine", "router", "simulator"), "date": provenance.today()}
        document["workloads"][name] = {**known, "capacity": capacity, "rows": rows}
        for load, of_load in groupby(rows, key=lambda row: row["load"]):
            best = sorted(of_load, key=lambda row: -row["goodput"])
            click.echo(f"{name} {load:g}: " + ", ".join(f"{row['policy']} {row['goodput']:.1%}" for row in best))
        if publish:
            RESULT.write_text(json.dumps(document, indent=1) + "\n")
            with replacing(PAGE.with_name(f"goodput-{name}.svg")) as temporary:
                draw_fleet(temporary, groups)
    if publish:
        PAGE.write_text(page(document))


@main.command()
def render() -> None:
    """Write the page anew, from the file of results."""
    PAGE.write_text(page(json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
