"""Fuzz the router's data path, and write what came of it into docs/results/router-fuzz.json.

    make fuzz                                      10 minutes
    FUZZ_SECONDS=60 .venv/bin/python tests/fuzz    shorter
    .venv/bin/python tests/fuzz --replay tests/fuzz/corpus/FILE.json

First clients and engines that send anything, judged by h11; then the router's own OpenAPI document, by schemathesis.
A case that breaks a rule is made small and written into tests/fuzz/corpus, which `make test` plays. Exit code 1 if
there was one.
"""

import json
import logging
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))

import provenance

from fuzzing.document import fuzz_document
from fuzzing.run import CORPUS, Failure, Findings, fuzz, replay

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "router-fuzz.json"
REQUESTS_PER_SECOND = 60
"""That schemathesis sends, about."""
DOCUMENT_SHARE = 0.1
"""Of the time."""
KINDS = 36
"""Paths of the document, and two ways to ask for each."""


@dataclass(frozen=True)
class Report:
    """What came of it."""

    seconds: float
    seed: int
    findings: Findings
    by_document: int
    """Requests that schemathesis made."""
    wrongs: list[str]
    """Answers that are not as the document says."""


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(min=1), default=600, envvar="FUZZ_SECONDS", show_default=True)
@click.option("--seed", type=int, default=None, help="Of the first round.  [default: the time]")
@click.option("--replay", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="One case only.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=RESULT, show_default=True)
def main(seconds: float, seed: int | None, file: Path | None, output: Path) -> None:
    """Fuzz, tell, write."""
    logging.lastResort = None
    if file is not None:
        failures, wrongs = replay([file]), list[str]()
    else:
        report = everything(seconds, int(time.time()) if seed is None else seed)
        output.write_text(json.dumps(document(report), indent=1) + "\n")
        failures, wrongs = report.findings.failures, report.wrongs
    for failure in failures:
        show(failure)
    for wrong in wrongs:
        click.echo(f"\n{wrong}")
    click.echo(f"{len(failures)} cases have broken a rule, {len(wrongs)} answers are not as the document says")
    sys.exit(1 if failures or wrongs else 0)


def everything(seconds: float, seed: int) -> Report:
    """Fuzz the protocols, then the document."""
    click.echo(f"about {seconds / 60:.1f} minutes")
    begun = time.monotonic()
    findings = fuzz(seconds * (1 - DOCUMENT_SHARE), seed, click.echo)
    click.echo(f"{findings.callers} connections: {dict(findings.answers.most_common())}")
    examples = max(1, round(seconds * DOCUMENT_SHARE * REQUESTS_PER_SECOND / KINDS))
    sent, wrongs = fuzz_document(examples, seed, click.echo)
    click.echo(f"{sent} requests by the document")
    return Report(time.monotonic() - begun, seed, findings, sent, wrongs)


def show(failure: Failure) -> None:
    """Print a case and what it breaks, and keep it."""
    click.echo(f"\n{failure.case.save(CORPUS)}\n{failure.what}\n{failure.case.to_json()}")


def document(report: Report) -> dict[str, Any]:
    """Return the report as it is published: with what it takes to get it again."""
    return {
        "what": "Clients and engines that send the router anything, judged by h11; then schemathesis on its OpenAPI document",
        "command": shlex.join(["python", "tests/fuzz", *sys.argv[1:]]),
        "commit": provenance.commit("router", "tests/fuzz"),
        "date": provenance.today(),
        "machine": provenance.machine(),
        "seed": report.seed,
        "seconds": round(report.seconds),
        "cases": report.findings.cases,
        "connections": report.findings.callers,
        "answers_by_reason": dict(report.findings.answers.most_common()),
        "requests_by_document": report.by_document,
        "broken_rules": [failure.what for failure in report.findings.failures],
        "answers_not_as_documented": report.wrongs,
    }


if __name__ == "__main__":
    main()
