"""Whether it is worth to obey `Retry-After`: how many clients that come back when they are told to are admitted then.

Two mock engines on this machine stand behind a router; requests arrive for a minute at 1.5 times the capacity of the engines, and
then for a minute at 0.8 times. A client that is refused comes back when the answer says so, and at most twice.

    .venv/bin/python tests/bench/retry_after.py                             about 3 minutes
    .venv/bin/python tests/bench/retry_after.py --publish                   and writes docs/results/retry-after.json

A measurement that needs a machine with time to spare; `--seconds` shortens it.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))

import provenance
from live_goodput import ROOT, Seen, ask, pool

from fairlead_router.config import ServiceClass
from fairlead_router.settings import class_rules, slo_of
from fairlead_simulator.fleet.capacity import capacity
from fairlead_simulator.fleet.scenario import Arrival, ClassSpec, FleetScenario, PodSpec, PolicySpec, Stream
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.setup import make_setup
from fairlead_simulator.workload import Fixed

RESULT = ROOT / "docs" / "results" / "retry-after.json"
CLASS = ServiceClass(name="interactive", ttft="2s", tbt="150ms", default=True)
PROFILE, SCHEDULER, PODS = "llama-3-8b-a100", "sarathi", 2
LENGTHS = Lengths(400, 120)
OVERLOAD, AFTERWARDS = 1.5, 0.8
MOST_RETRIES = 2
"""As many as OpenAI's client makes."""


def scenario(seconds: float, seed: int) -> FleetScenario:
    """Return the pool, and requests at its capacity."""
    setup = make_setup(SCHEDULER, PROFILE, {}, first_token_with_prefill=True, prefix_cache=False)
    classes = (ClassSpec(CLASS.name, slo_of(CLASS), class_rules(CLASS)),)
    streams = (Stream(CLASS.name, 1.0, Fixed(LENGTHS)),)
    made = FleetScenario(
        (PodSpec(setup),) * PODS, PolicySpec.parse("rad"), classes, streams, qps=1.0, seconds=seconds, seed=seed
    )
    return replace(made, qps=capacity(made))


def arrivals(made: FleetScenario) -> list[Arrival]:
    """Return the requests of an overload, and of as long a time after it."""
    before = list(replace(made, qps=OVERLOAD * made.qps).arrivals())
    after = replace(made, qps=AFTERWARDS * made.qps, seed=made.seed + 1).arrivals()
    return [
        *before,
        *(replace(each, seconds=each.seconds + made.seconds, number=each.number + len(before)) for each in after),
    ]


@dataclass(frozen=True, slots=True)
class Retry:
    """A client that came back."""

    number: int
    """Which of its retries it was, from 1."""
    told_at: float
    seconds: float
    """When it came."""
    admitted: bool


async def obey(address: str, arrival: Arrival, start: float, retries: list[Retry]) -> Seen:
    """Send a request, and again when the router says so."""
    seen = await ask(address, arrival, start)
    for number in range(1, MOST_RETRIES + 1):
        if not seen.refused or not seen.retry_after:
            break
        told_at = time.monotonic() - start
        at = told_at + seen.retry_after
        seen = await ask(address, replace(arrival, seconds=at), start)
        retries.append(Retry(number, told_at, at, not seen.refused))
    return seen


@dataclass(frozen=True, slots=True)
class Share:
    """Of the clients that came back for the first time, in some part of the run."""

    what: str
    came_back: int
    admitted: int

    @property
    def share(self) -> float:
        """Those that were admitted."""
        return self.admitted / self.came_back if self.came_back else 1.0


def shares(retries: Sequence[Retry], overload_seconds: float) -> list[Share]:
    """Return the shares of all, and of those that came during the overload and after it."""
    first = [retry for retry in retries if retry.number == 1]
    during = [retry for retry in first if retry.seconds < overload_seconds]
    after = [retry for retry in first if retry.seconds >= overload_seconds]
    parts = {"all": first, "during the overload": during, "after the overload": after}
    return [Share(what, len(part), sum(retry.admitted for retry in part)) for what, part in parts.items()]


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(min=4), default=60.0, show_default=True, help="Of the overload.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--publish", is_flag=True, help=f"Write {RESULT.relative_to(ROOT)}.")
def main(seconds: float, seed: int, publish: bool) -> None:
    """Measure."""
    made = scenario(seconds, seed)
    asked = arrivals(made)
    click.echo(f"{len(asked)} requests in {2 * seconds:g} s and more; the engines do {made.qps:.1f} a second")
    retries: list[Retry] = []

    async def run(address: str) -> list[Seen]:
        start = time.monotonic() + 0.5
        return await asyncio.gather(*(obey(address, arrival, start, retries) for arrival in asked))

    with (
        tempfile.TemporaryDirectory() as folder,
        pool(made, Path(folder), (CLASS,)) as address,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        seen = runner.run(run(address))
    found = shares(retries, seconds)
    for each in found:
        click.echo(f"  first retries, {each.what:20} {each.came_back:6}   admitted {each.share:6.1%}")
    served = sum(not each.refused for each in seen)
    click.echo(f"  requests that were served in the end {served / len(seen):.1%}")
    if publish:
        RESULT.write_text(json.dumps(document(seconds, seed, made, found, served, len(seen)), indent=1) + "\n")


def document(
    seconds: float, seed: int, made: FleetScenario, found: Sequence[Share], served: int, offered: int
) -> dict[str, Any]:
    """Return what is published."""
    return {
        "what": f"Clients that obey Retry-After: {seconds:g} s at {OVERLOAD} times the capacity, then {AFTERWARDS} times; "
        f"{PODS} mock engines ({PROFILE}, {SCHEDULER})",
        "command": f"python tests/bench/retry_after.py --seconds {seconds:g} --seed {seed} --publish",
        "commit": provenance.commit("router", "simulator", "engine"),
        "date": provenance.today(),
        "machine": provenance.machine(),
        "capacity": made.qps,
        "first_retries": [{**asdict(each), "share": each.share} for each in found],
        "served": served,
        "offered": offered,
    }


if __name__ == "__main__":
    main()
