"""How closely a live router does what the simulator says of it: goodput of two classes, through a real router and simulated.

Four mock engines on this machine stand behind a router; requests of two classes arrive for three minutes at 1.2 times the
capacity of the engines. The same arrivals then go through the simulator, whose decisions are the router's own code.

    .venv/bin/python tests/bench/live_goodput.py                            about 4 minutes
    .venv/bin/python tests/bench/live_goodput.py --publish                  and writes docs/results/live-goodput.json

A measurement, not a test that gates: it needs a machine with time to spare. Figures that differ by more than 5 points are marked.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import provenance

from fairlead_engine.mock.tokens import TOKEN_BYTES
from fairlead_router.config import Engine, RouterConfig, ServiceClass, StaticEndpoint
from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Outcome, Slo
from fairlead_router.settings import class_rules, slo_of
from fairlead_simulator.fleet.capacity import capacity
from fairlead_simulator.fleet.meter import FleetMeter
from fairlead_simulator.fleet.results import FleetFigures
from fairlead_simulator.fleet.scenario import Arrival, ClassSpec, FleetScenario, PodSpec, PolicySpec, Stream
from fairlead_simulator.fleet.simulation import simulate_fleet
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.setup import make_setup
from fairlead_simulator.workload import Fixed

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "live-goodput.json"
PROFILE, SCHEDULER, PODS = "codellama-34b-a100", "sarathi", 4
CLASSES = (
    ServiceClass(name="interactive", ttft="3s", tbt="300ms", priority=10, share=60, default=True),
    ServiceClass(name="batch", ttft="20s", share=40, on_unreachable="queue"),
)
STREAMS = (Stream("interactive", 0.5, Fixed(Lengths(400, 120))), Stream("batch", 0.5, Fixed(Lengths(1600, 200))))
POINTS = 0.05
_RETRY_AFTER = re.compile(rb"retry-after: (\d+)\r\n")
_TOKEN = b'data: {"id"'
"""Begins every chunk, and each chunk of a completion is a token."""


def scenario(load: float, seconds: float, seed: int) -> FleetScenario:
    """Return the run, at a load as a share of the capacity."""
    setup = make_setup(SCHEDULER, PROFILE, {}, first_token_with_prefill=True, prefix_cache=False)
    classes = tuple(ClassSpec(each.name, slo_of(each), class_rules(each)) for each in CLASSES)
    pods = (PodSpec(setup),) * PODS
    made = FleetScenario(pods, PolicySpec.parse("rad"), classes, STREAMS, qps=1.0, seconds=seconds, seed=seed)
    return replace(made, qps=load * capacity(made))


@contextmanager
def process(*command: object) -> Iterator[str]:
    """Run a server; gives the address that it says it is ready at."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().split("http://")[1].split()[0]
        finally:
            running.terminate()


@contextmanager
def pool(made: FleetScenario, folder: Path, classes: Sequence[ServiceClass] = CLASSES) -> Iterator[str]:
    """Run the engines and a router before them; gives the router's address."""
    limits = made.pods[0].setup.limits
    with ExitStack() as stack:
        flags = ["--profile", PROFILE, "--scheduler", SCHEDULER, "--no-enable-prefix-caching", "--log-level", "warning"]
        command = [sys.executable, "-m", "fairlead_engine", "--host", "127.0.0.1", "--port", "0", *flags]
        engines = [stack.enter_context(process(*command)) for _ in made.pods]
        config = RouterConfig(
            pool="live",
            classes=tuple(classes),
            policy="rad",
            engine=Engine(max_num_seqs=limits.max_num_seqs, batch_tokens=limits.max_num_batched_tokens),
            endpoints=tuple(StaticEndpoint(uid=address, address=address) for address in engines),
        )
        path = folder / "router.yaml"
        path.write_text(config.to_yaml())
        router = Path(sys.executable).parent / "fairlead-router"
        yield stack.enter_context(
            process(router, "--config", path, "--host", "127.0.0.1", "--port", "0", "--admin-port", "0")
        )


@dataclass(slots=True)
class Seen:
    """What a client saw of its request; times in seconds of one clock."""

    sent: float
    first: float | None = None
    last: float = 0.0
    worst: float | None = None
    tokens: int = 0
    refused: bool = False
    retry_after: int = 0
    """Seconds after which a refused client is asked to come back."""


class Client(asyncio.Protocol):
    """One request on a connection of its own, timed chunk by chunk."""

    def __init__(self, seen: Seen) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._seen = seen
        self._tail = b""
        self._begun = False

    def data_received(self, data: bytes) -> None:
        now, seen = time.monotonic(), self._seen
        if not self._begun:
            self._begun = True
            seen.refused = not data.startswith(b"HTTP/1.1 200 ")
            if found := _RETRY_AFTER.search(data):
                seen.retry_after = int(found[1])
        data = self._tail + data
        tokens = data.count(_TOKEN)
        self._tail = data[-(len(_TOKEN) - 1) :]
        if tokens:
            if seen.first is None:
                seen.first = now
            else:
                seen.worst = max(seen.worst or 0.0, now - seen.last)
            seen.last = now
            seen.tokens += tokens

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def ask(address: str, arrival: Arrival, start: float) -> Seen:
    """Send a request when it is due, and see it to its end."""
    lengths = arrival.lengths
    prompt = f"{arrival.number:08d}" + "x" * (TOKEN_BYTES * (lengths.prompt_tokens - 2))
    asked = {"model": "mock", "prompt": prompt, "max_tokens": lengths.output_tokens, "ignore_eos": True, "stream": True}
    body = json.dumps(asked).encode()
    host, _, port = address.rpartition(":")
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n"
        f"x-slo-class: {arrival.stream.service_class}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    await asyncio.sleep(start + arrival.seconds - time.monotonic())
    seen = Seen(time.monotonic())
    transport, client = await asyncio.get_running_loop().create_connection(lambda: Client(seen), host, int(port))
    transport.write(head.encode() + body)
    async with asyncio.timeout(180):
        await client.ended
    return seen


async def live(address: str, arrivals: Sequence[Arrival], classes: Sequence[ClassSpec], seconds: float) -> FleetFigures:
    """Send everything, and judge it as the simulator does."""
    start = time.monotonic() + 0.5
    seen = await asyncio.gather(*(ask(address, arrival, start) for arrival in arrivals))
    meter, slos = FleetMeter(classes), {spec.name: spec.slo for spec in classes}
    for arrival, each in zip(arrivals, seen, strict=True):
        meter.offered(arrival)
        if each.refused:
            meter.rejected(arrival)
        else:
            meter.ended(arrival, outcome_of(each, arrival, slos[arrival.stream.service_class]))
    return meter.figures(seconds, [])


def outcome_of(seen: Seen, arrival: Arrival, slo: Slo) -> Outcome:
    """Judge what a client saw."""
    whole = seen.tokens == arrival.lengths.output_tokens
    ttft = None if seen.first is None else seen.first - seen.sent
    reason = Reason.COMPLETED if whole else Reason.ENGINE_DISCONNECTED
    good = whole and slo.met_by(ttft, seen.worst)
    return Outcome(reason, good, seen.last - seen.sent, ttft, seen.worst, seen.tokens)


@dataclass(frozen=True, slots=True)
class Line:
    """One share, simulated and live."""

    name: str
    simulated: float
    live: float

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than is allowed."""
        return abs(self.simulated - self.live) <= POINTS


def compare(simulated: FleetFigures, measured: FleetFigures) -> list[Line]:
    """Return goodput and attainment, of all and of each class."""
    lines = [Line("goodput", simulated.goodput or 0.0, measured.goodput or 0.0)]
    for name, figures in simulated.classes.items():
        for what in ("goodput", "ttft_attainment", "tbt_attainment"):
            pair = (getattr(each, what) or 0.0 for each in (figures, measured.classes[name]))
            lines.append(Line(f"{name} {what}", *pair))
    return lines


@click.command(help=__doc__)
@click.option("--load", type=float, default=1.2, show_default=True, help="Share of the capacity.")
@click.option("--seconds", type=click.FloatRange(min=5), default=180.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--publish", is_flag=True, help=f"Write {RESULT.relative_to(ROOT)}.")
def main(load: float, seconds: float, seed: int, publish: bool) -> None:
    """Measure, simulate and compare."""
    made = scenario(load, seconds, seed)
    arrivals = list(made.arrivals())
    click.echo(f"{len(arrivals)} requests, {made.qps:.1f} a second, about {seconds / 60 + 1:.0f} minutes")
    with (
        tempfile.TemporaryDirectory() as folder,
        pool(made, Path(folder)) as address,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        measured = runner.run(live(address, arrivals, made.classes, seconds))
    lines = compare(simulate_fleet(made), measured)
    for line in lines:
        difference = 100 * (line.live - line.simulated)
        click.echo(
            f"  {line.name:28} simulated {line.simulated:6.1%}   live {line.live:6.1%}   {difference:+5.1f} points"
            f"{'' if line.agrees else '  DIFFERS'}"
        )
    if publish:
        RESULT.write_text(json.dumps(document(load, seconds, seed, lines), indent=1) + "\n")


def document(load: float, seconds: float, seed: int, lines: Sequence[Line]) -> dict[str, Any]:
    """Return what is published."""
    return {
        "what": f"Goodput and attainment of two classes, {PODS} mock engines ({PROFILE}, {SCHEDULER}): simulated and live",
        "command": f"python tests/bench/live_goodput.py --load {load:g} --seconds {seconds:g} --seed {seed} --publish",
        "commit": provenance.commit("router", "simulator", "engine"),
        "date": provenance.today(),
        "machine": provenance.machine(),
        "figures": [asdict(line) for line in lines],
    }


if __name__ == "__main__":
    main()
