"""How closely the mock engine's clients see what the engine core predicts: TTFT and TBT, in real and in virtual time.

An engine process serves 64 streams. Their prompts, lengths and the times at which they were really sent then go through
the same core under a virtual clock. The two must agree within 5 % + 2 ms, in the mean and at every percentile printed.

    .venv/bin/python tests/bench/mock_agreement.py                          about 1 minute for four profiles
    .venv/bin/python tests/bench/mock_agreement.py --profile fast --scheduler slai

A measurement, not a test that gates: on a busy machine it says how busy it is. Exit code 1 where something disagrees.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from statistics import fmean, quantiles
from typing import TextIO

import click
import uvloop

from fairlead_engine.batch_time import PROFILES, BatchTime
from fairlead_engine.batching import Core
from fairlead_engine.mock.tokens import TOKEN_BYTES
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Request

PROFILES_OF_THE_CLAIM = ("mistral-7b-rtx6000-ada", "llama-3-8b-a100", "codellama-34b-a100", "llama-2-70b-h100-tp4")
RELATIVE = 0.05
ABSOLUTE_SECONDS = 0.002
_TOKEN = b'data: {"id"'
"""Begins every chunk, and each chunk of a completion is a token."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One stream that will be asked for."""

    seconds: float
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Times:
    """When a stream was asked for, and when its tokens came."""

    sent: float
    tokens: list[float] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        return self.tokens[0] - self.sent

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.tokens)]


def plans(streams: int, seed: int) -> list[Plan]:
    """Return a short stream, and others that all arrive within two seconds, so that most of them run together."""
    chance = random.Random(seed)
    arrivals = sorted(chance.uniform(0, 2) for _ in range(streams))
    mixed = [Plan(seconds, chance.randint(16, 1200), chance.randint(64, 160)) for seconds in arrivals]
    return [Plan(0.0, 16, 2), *mixed]


@contextmanager
def engine(*flags: str) -> Iterator[tuple[int, int]]:
    """Run an engine process; give its port and its process id."""
    command = [sys.executable, "-m", "fairlead_engine", "--host", "127.0.0.1", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            yield int(ready.split("http://127.0.0.1:")[1].split()[0]), process.pid
        finally:
            process.terminate()


class Stream(asyncio.Protocol):
    """One connection that notes when tokens arrive, and does nothing else in the meantime."""

    def __init__(self, output_tokens: int) -> None:
        self.times = Times(0.0)
        self.ended = asyncio.get_running_loop().create_future()
        self._left_tokens = output_tokens
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self._tail + data
        found = data.count(_TOKEN)
        self._tail = data[-(len(_TOKEN) - 1) :]
        self.times.tokens.extend([now] * found)
        self._left_tokens -= found
        if self._left_tokens == 0 and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the stream ended before its last token"))


async def measure(port: int, streams: Sequence[Plan]) -> list[Times]:
    """Ask for the first stream, and when it has ended for every other at its time.

    The first warms the process up. It is part of what is compared, because a scheduler may remember it.
    """
    loop = asyncio.get_running_loop()

    async def run(number: int, plan: Plan, start: float) -> Times:
        transport, stream = await loop.create_connection(lambda: Stream(plan.output_tokens), "127.0.0.1", port)
        body = json.dumps(
            {
                "prompt": f"{number:04d}" + "x" * (TOKEN_BYTES * (plan.prompt_tokens - 1)),
                "max_tokens": plan.output_tokens,
                "ignore_eos": True,
                "stream": True,
            }
        ).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n" % len(body)
        await asyncio.sleep(start + plan.seconds - time.monotonic())
        stream.times.sent = time.monotonic()
        transport.write(head + body)
        async with asyncio.timeout(120):
            await stream.ended
        transport.close()
        return stream.times

    first = await run(0, streams[0], time.monotonic())
    start = time.monotonic() + 0.5
    others = await asyncio.gather(*(run(number, plan, start) for number, plan in enumerate(streams[1:], start=1)))
    return [first, *others]


def predict(profile: BatchTime, scheduler: str, streams: Sequence[Plan], sent: Sequence[float]) -> list[Times]:
    """Run the same streams, asked for at the same times, through the core under a virtual clock."""
    kind = SCHEDULERS[scheduler]
    core = Core(replace(kind.limits, num_gpu_blocks=14_733), kind())
    predicted = [Times(at) for at in sent]
    arrivals = sorted(range(len(streams)), key=lambda number: sent[number])
    now = sent[arrivals[0]]
    while arrivals or core.waiting or core.running:
        arrivals = _arrive(core, streams, predicted, arrivals, now)
        batch = core.next_batch(now)
        if batch is None:
            now = predicted[arrivals[0]].sent
            continue
        now += profile.seconds(batch)
        arrivals = _arrive(core, streams, predicted, arrivals, now)
        for token in core.complete(batch, now):
            predicted[int(token.request_id)].tokens.append(now)
    return predicted


def _arrive(core: Core, streams: Sequence[Plan], times: Sequence[Times], waiting: list[int], now: float) -> list[int]:
    """Give the core what has been sent by `now`; return what has not."""
    for position, number in enumerate(waiting):
        if times[number].sent > now:
            return waiting[position:]
        plan = streams[number]
        core.add(Request(str(number), plan.prompt_tokens, plan.output_tokens), times[number].sent)
    return []


def figures(values: Sequence[float]) -> dict[str, float]:
    """Return mean and percentiles of values, in seconds."""
    cuts = quantiles(values, n=100, method="inclusive")
    return {"mean": fmean(values), "p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, as predicted and as measured."""

    name: str
    predicted_ms: float
    measured_ms: float

    @property
    def agrees(self) -> bool:
        allowed_ms = RELATIVE * self.predicted_ms + ABSOLUTE_SECONDS * 1e3
        return abs(self.measured_ms - self.predicted_ms) <= allowed_ms


def compare(measured: Sequence[Times], predicted: Sequence[Times]) -> list[Line]:
    """Give mean and percentiles of both, in milliseconds."""
    rows = {
        "TTFT": ([times.ttft for times in measured], [times.ttft for times in predicted]),
        "TBT": ([gap for times in measured for gap in times.gaps], [gap for times in predicted for gap in times.gaps]),
    }
    return [
        Line(f"{name} {figure}", expected * 1e3, figures(real)[figure] * 1e3)
        for name, (real, virtual) in rows.items()
        for figure, expected in figures(virtual).items()
    ]


def show(line: Line) -> None:
    difference_ms = line.measured_ms - line.predicted_ms
    click.echo(
        f"  {line.name:9}  predicted {line.predicted_ms:8.2f} ms   measured {line.measured_ms:8.2f} ms"
        f"   {difference_ms:+7.2f} ms{'' if line.agrees else '  DISAGREES'}"
    )


@click.command(help=__doc__)
@click.option("--profile", "profiles", multiple=True, type=click.Choice(list(PROFILES)), help="May be repeated.")
@click.option("--scheduler", type=click.Choice(list(SCHEDULERS)), default="sarathi", show_default=True)
@click.option("--streams", type=click.IntRange(2), default=64, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", "-o", type=click.File("w"), help="Write the figures here, as JSON.")
def main(profiles: tuple[str, ...], scheduler: str, streams: int, seed: int, output: TextIO | None) -> None:
    """Measure, predict and compare, profile by profile."""
    chosen = plans(streams, seed)
    found: dict[str, list[Line]] = {}
    for profile in profiles or PROFILES_OF_THE_CLAIM:
        flags = ("--profile", profile, "--scheduler", scheduler, "--no-enable-prefix-caching")
        with engine(*flags) as (port, _), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(measure(port, chosen))
        predicted = predict(PROFILES[profile], scheduler, chosen, [times.sent for times in measured])
        click.echo(f"{profile}, {scheduler}, {streams} streams:")
        found[profile] = compare(measured[1:], predicted[1:])
        for line in found[profile]:
            show(line)
    if output is not None:
        profile_lines = {profile: [asdict(line) for line in lines] for profile, lines in found.items()}
        json.dump(
            {"scheduler": scheduler, "streams": streams, "seed": seed, "profiles": profile_lines}, output, indent=1
        )
    sys.exit(0 if all(line.agrees for lines in found.values() for line in lines) else 1)


if __name__ == "__main__":
    main()
