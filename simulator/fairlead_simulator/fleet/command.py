"""`fairlead simulate fleet`: reads what is asked for, has it run, and hands out what came of it."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

import click

from fairlead_simulator import specs
from fairlead_simulator.command_line import Command, bad_input, reading
from fairlead_simulator.fleet import files
from fairlead_simulator.fleet.report import print_fleet
from fairlead_simulator.fleet.results import FleetResult
from fairlead_simulator.fleet.scenario import NAMES, Failure, FleetScenario, PodSpec, PolicySpec
from fairlead_simulator.fleet.study import FleetStudy, by_policy_and_rate, run_fleet
from fairlead_simulator.output import PLOT_SUFFIXES, check_writable, replacing
from fairlead_simulator.runs import runner
from fairlead_simulator.setup import make_setup

File = click.Path(path_type=Path, exists=True, dir_okay=False)
Count = click.IntRange(min=1)


def policies(text: str) -> tuple[PolicySpec, ...]:
    """Read names of policies; `all` is every one."""
    names = NAMES if text == "all" else tuple(dict.fromkeys(text.split(",")))
    return tuple(PolicySpec.parse(name) for name in names)


def slow_pods(text: str) -> tuple[int, float]:
    """Read `COUNT:FACTOR`: so many pods, so many times slower."""
    number, _, factor = text.partition(":")
    count, slowness = specs.number("pods", number, whole=True), specs.number("factor", factor)
    if count < 0 or slowness <= 0:
        raise ValueError(f"{text!r}: write COUNT:FACTOR, for example 1:2 for one pod that is twice as slow")
    return int(count), slowness


def failures(text: str) -> tuple[Failure, ...]:
    """Read `POD@FROM-TO,...` in seconds; without TO the pod stays away."""
    read = []
    for part in text.split(","):
        pod, at, times = part.partition("@")
        start, _, end = times.partition("-")
        if not at:
            raise ValueError(f"{part!r}: write POD@FROM-TO, for example 2@60-90: pod 2 is gone from 60 s to 90 s")
        failure = Failure(
            int(specs.number("pod", pod, whole=True)),
            specs.number("from", start),
            specs.number("to", end) if end else inf,
        )
        if failure.pod < 0 or not 0 <= failure.start < failure.end:
            raise ValueError(f"{part!r}: the pod counts from 0, and it comes back after it has gone")
        read.append(failure)
    return tuple(read)


@click.command("fleet", cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option("--pods", type=Count, default=8, help="Engines of the pool.")
@click.option("--profile", default="llama-3-8b-a100", metavar="NAME|FILE", help="Batch-time model of the engines.")
@click.option("--scheduler", default="sarathi", metavar="NAME", help="Batch scheduler of the engines.")
@click.option(
    "--policy",
    "names",
    default="rad,least-request,round-robin",
    metavar="NAME,...",
    callback=reading(policies),
    help=f"Routing policies to compare, of {', '.join(NAMES)}; or all. rad comes with SLAI's admission, others as their "
    "authors ship them; NAME+slai and NAME-slai change that.",
)
@click.option(
    "--classes",
    "classes_file",
    type=File,
    metavar="FILE",
    help="YAML with the SLO declaration: `classes` of a pool.  [default: one class, TTFT 2 s, TBT 100 ms]",
)
@click.option(
    "--workload",
    "workload_file",
    type=File,
    metavar="FILE",
    help="YAML with the streams of requests, as above.  [default: ShareGPT's lengths, Poisson arrivals]",
)
@click.option(
    "--load",
    "loads",
    default=None,
    metavar="X|FROM:TO:STEP|X,...",
    help="Rates as shares of the pool's capacity, which is measured first.  [default: 0.7,0.9,1.0,1.2]",
)
@click.option(
    "--qps",
    default=None,
    metavar="Q|FROM:TO:STEP",
    callback=reading(specs.rates),
    help="Instead of --load: requests per second.",
)
@click.option(
    "--seconds",
    default="120",
    metavar="SECONDS",
    callback=reading(specs.positive),
    help="How long requests arrive.",
)
@click.option("--seeds", type=Count, default=1, help="Runs of each policy and rate, with other requests each time.")
@click.option("--seed", type=int, default=42, help="The first seed; the same seed gives the same result, bit for bit.")
@click.option("--routers", type=Count, default=1, help="Router replicas, each with a ledger of its own.")
@click.option(
    "--slow", default="0:1", metavar="COUNT:FACTOR", callback=reading(slow_pods), help="Pods that are slower."
)
@click.option(
    "--failures",
    "lost",
    default=None,
    metavar="POD@FROM-TO,...",
    callback=reading(failures),
    help="Pods that go, and when they come back.",
)
@click.option(
    "--max-num-batched-tokens", type=Count, metavar="N", help="Token budget of a batch.  [default: the scheduler's]"
)
@click.option(
    "--max-num-seqs", type=Count, metavar="N", help="Requests that run at a time in a pod.  [default: the scheduler's]"
)
@click.option("--num-gpu-blocks", type=Count, metavar="N", help="KV blocks of 16 tokens in a pod.  [default: 14733]")
@click.option(
    "--enable-prefix-caching", "prefix_cache", is_flag=True, help="Engines keep blocks of prompts for later ones."
)
@click.option(
    "--scrape",
    "scrape_seconds",
    default="0.05",
    metavar="SECONDS",
    callback=reading(specs.positive),
    help="Between two looks at the engines' metrics, for policies that go by them.",
)
@click.option("--jobs", type=Count, metavar="N", help="Runs at the same time.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw goodput over the rate (.png, .svg or .pdf)."
)
def fleet(  # noqa: PLR0913 - click gives every option a parameter
    *,
    pods: int,
    profile: str,
    scheduler: str,
    names: tuple[PolicySpec, ...],
    classes_file: Path | None,
    workload_file: Path | None,
    loads: str | None,
    qps: tuple[float, ...] | None,
    seconds: float,
    seeds: int,
    seed: int,
    routers: int,
    slow: tuple[int, float],
    lost: tuple[Failure, ...] | None,
    prefix_cache: bool,
    scrape_seconds: float,
    jobs: int | None,
    as_json: bool,
    plot: Path | None,
    **limits: int | None,
) -> None:
    """Simulate a pool: engines, routers with the decisions that they make live, and clients of several classes.

    \b
      fairlead simulate fleet --pods 8 --policy all --load 0.7:1.2:0.1 --plot goodput.png
      fairlead simulate fleet --policy least-request,lmetric --slow 1:2 --failures 3@40-70 --seeds 3
      fairlead simulate fleet --classes pool.yaml --workload workload.yaml --qps 20:60:10 --json

    \b
    A workload file:
      streams:
      - {class: interactive, share: 60, lengths: sharegpt, tenants: {a: 1, b: 9}}
      - {class: batch, share: 40, lengths: "fixed:3000,300", arrivals: "mmpp:ratio=5"}

    Goodput is the share of the requests offered that met both the TTFT and the TBT limit of their class; whatever is
    rejected or lost has missed.
    """  # noqa: D301 - click wants the control character
    with bad_input():
        if plot is not None:
            check_writable(plot, PLOT_SUFFIXES)
        if qps is not None and loads is not None:
            raise ValueError("--load and --qps exclude each other")
        given = {name: value for name, value in limits.items() if value is not None}
        setup = make_setup(scheduler, profile, given, first_token_with_prefill=True, prefix_cache=prefix_cache)
        classes = files.read_classes(classes_file) if classes_file else (files.DEFAULT_CLASS,)
        streams = files.read_workload(workload_file, classes) if workload_file else files.default_workload(classes)
        scenario = FleetScenario(
            pods=_pods(PodSpec(setup), pods, *slow),
            policy=names[0],
            classes=classes,
            streams=streams,
            qps=1.0,
            seconds=seconds,
            seed=seed,
            routers=routers,
            failures=_checked(lost or (), pods),
            scrape_seconds=scrape_seconds,
        )
        shares = shares_of_capacity(loads or "0.7,0.9,1.0,1.2")
    every_seed = tuple(range(seed, seed + seeds))
    if qps is None:
        study = FleetStudy.of_loads(scenario, names, shares, every_seed)
    else:
        study = FleetStudy(scenario, names, qps, every_seed)
    runs = study.runs()
    with runner(min(jobs or os.cpu_count() or 1, len(runs)), run_fleet) as processes:
        results = processes.run(runs)
    hand_out(results, study.capacity, as_json=as_json, plot=plot)


def hand_out(results: Sequence[FleetResult], capacity: float | None, *, as_json: bool, plot: Path | None) -> None:
    """Draw what is to be drawn, and print JSON or a table."""
    groups = by_policy_and_rate(results)
    if plot is not None:
        from fairlead_simulator.fleet.plots import draw_fleet  # noqa: PLC0415 - half a second that most runs do not need

        with bad_input(), replacing(plot) as temporary:
            draw_fleet(temporary, groups)
    if as_json:
        click.echo(
            json.dumps(
                {"capacity": capacity, "runs": [result.as_json() for result in results]}, indent=2, allow_nan=False
            )
        )
    else:
        print_fleet(groups, capacity)


def shares_of_capacity(text: str) -> tuple[float, ...]:
    """Read shares: one, several separated by commas, or FROM:TO:STEP."""
    return tuple(rate for part in text.split(",") for rate in specs.rates(part))


def _pods(spec: PodSpec, number: int, slow: int, slowness: float) -> tuple[PodSpec, ...]:
    if slow > number:
        raise ValueError(f"--slow: {slow} pods are to be slow, and there are {number}")
    return (spec,) * (number - slow) + (replace(spec, slowness=slowness),) * slow


def _checked(lost: Sequence[Failure], pods: int) -> tuple[Failure, ...]:
    for failure in lost:
        if failure.pod >= pods:
            raise ValueError(f"--failures: there is no pod {failure.pod}; the last is {pods - 1}")
    return tuple(lost)
