"""Soak the router, and write what came of it into docs/results/router-soak.json.

    make soak                                      10 minutes and a little more
    SOAK_SECONDS=60 .venv/bin/python tests/soak    shorter

A router with two workers carries 70 % of the load that it holds on this machine, while its engines are killed, started
again and drained, its clients hang up, its files change and its workers are killed. Exit code 1 where something was
seen that must not be; it is listed.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))

import provenance

from soak.run import Plan, Report, soak

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "router-soak.json"
BEFORE_AND_AFTER_SECONDS = 75
"""Measuring the rate that is held, and the ends of the last streams."""


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(min=10), default=600, envvar="SOAK_SECONDS", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--engines", type=click.IntRange(2), default=4, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is sent, and of what breaks.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=RESULT, show_default=True)
def main(seconds: float, workers: int, engines: int, seed: int, output: Path) -> None:
    """Soak, tell, write."""
    begun, others = time.monotonic(), os.getloadavg()[0]
    tell(f"about {(seconds + BEFORE_AND_AFTER_SECONDS) / 60:.0f} minutes")
    plan = Plan(seconds, engines=engines, workers=workers, seed=seed)
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(soak(plan, Path(directory), tell))
    output.write_text(json.dumps(document(report, others), indent=1) + "\n")
    show(report)
    tell(f"{output}, after {time.monotonic() - begun:.0f} s")
    sys.exit(1 if report.findings else 0)


def tell(line: str) -> None:
    """Print a line with the time."""
    click.echo(f"{datetime.now(UTC):%H:%M:%S}  {line}")


def show(report: Report) -> None:
    """Print the figures, and what must not be."""
    click.echo(", ".join(f"{number} {how}" for how, number in report.requests.items()))
    for each in report.memory:
        click.echo(f"{each.process}: {each.first_mb:.1f} MB, at the end {each.last_mb:.1f} MB")
    click.echo(f"loop lag p99 at most {report.loop_lag_p99_seconds * 1e3:g} ms; ended in {report.exit_seconds:.1f} s")
    for finding in report.findings:
        click.echo(f"MUST NOT BE  {finding.rule}: {finding.what}", err=True)


def document(report: Report, others: float) -> dict[str, Any]:
    """Return the report as it is published: with what it takes to get it again, and the load average before it."""
    return {
        "what": "The router under load while what is around it breaks; nothing is found that must not be"
        if not report.findings
        else "The router under load while what is around it breaks; see `findings`",
        "command": f"SOAK_SECONDS={report.seconds:g} make soak",
        "commit": provenance.commit("router", "tests/soak"),
        "date": provenance.today(),
        "machine": f"{provenance.machine()}; load average before: {others:.1f}",
        **asdict(report),
    }


if __name__ == "__main__":
    main()
