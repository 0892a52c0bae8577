"""What the mock engine costs: the share of a core that its process takes for 256 streams of 20 tokens a second.

    .venv/bin/python tests/bench/mock_cost.py                               about 20 seconds

A measurement, not a test that gates.
"""

import asyncio
import os
import time
from pathlib import Path
from statistics import fmean

import click
import uvloop
from mock_agreement import Plan, engine, measure

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


@click.command(help=__doc__)
@click.option("--streams", type=click.IntRange(2), default=256, show_default=True)
@click.option("--tokens-per-second", type=float, default=20.0, show_default=True, help="Of each stream.")
@click.option("--seconds", type=float, default=12.0, show_default=True)
def main(streams: int, tokens_per_second: float, seconds: float) -> None:
    """Serve the streams, and print what that cost."""
    # `fast` takes 2 ms + 0.05 ms per stream; the scale makes of that the time between two tokens.
    scale = 1 / tokens_per_second / (0.002 + 0.00005 * streams)
    flags = ("--max-num-seqs", str(streams), "--max-num-batched-tokens", str(2 * streams), "--time-scale", str(scale))
    chosen = [Plan(0.0, 16, 2), *(Plan(0.0, 16, int(seconds * tokens_per_second)) for _ in range(streams))]
    with engine(*flags) as (port, pid), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before, started = cpu_seconds(pid), time.monotonic()
        measured = runner.run(measure(port, chosen))
        used, lasted = cpu_seconds(pid) - before, time.monotonic() - started
    rate = fmean(1 / fmean(times.gaps) for times in measured[1:])
    click.echo(f"{streams} streams of {rate:.1f} tokens/s: {used / lasted:.3f} of a core over {lasted:.1f} s")


if __name__ == "__main__":
    main()
