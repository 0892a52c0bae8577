"""Fuzz the router's data path.

    make fuzz                                      10 minutes
    FUZZ_SECONDS=60 .venv/bin/python tests/fuzz    shorter
    .venv/bin/python tests/fuzz --replay tests/fuzz/corpus/FILE.json

First clients and engines that send anything, judged by h11; then the router's own OpenAPI document, by schemathesis.
A case that breaks a rule is made small and written into tests/fuzz/corpus, which `make test` plays. Exit code 1 if
there was one.
"""

import logging
import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))

from fuzzing.document import fuzz_document
from fuzzing.run import CORPUS, Failure, fuzz, replay

REQUESTS_PER_SECOND = 60
"""That schemathesis sends, about."""
DOCUMENT_SHARE = 0.1
"""Of the time."""
KINDS = 36
"""Paths of the document, and two ways to ask for each."""


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(min=1), default=600, envvar="FUZZ_SECONDS", show_default=True)
@click.option("--seed", type=int, default=None, help="Of the first round.  [default: the time]")
@click.option("--replay", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="One case only.")
def main(seconds: float, seed: int | None, file: Path | None) -> None:
    """Fuzz, tell, write."""
    logging.lastResort = None
    if file is not None:
        failures, wrongs = replay([file]), list[str]()
    else:
        failures, wrongs = everything(seconds, int(time.time()) if seed is None else seed)
    for failure in failures:
        show(failure)
    for wrong in wrongs:
        click.echo(f"\n{wrong}")
    click.echo(f"{len(failures)} cases have broken a rule, {len(wrongs)} answers are not as the document says")
    sys.exit(1 if failures or wrongs else 0)


def everything(seconds: float, seed: int) -> tuple[list[Failure], list[str]]:
    """Fuzz the protocols, then the document."""
    click.echo(f"about {seconds / 60:.1f} minutes")
    findings = fuzz(seconds * (1 - DOCUMENT_SHARE), seed, click.echo)
    click.echo(f"{findings.callers} connections: {dict(findings.answers.most_common())}")
    examples = max(1, round(seconds * DOCUMENT_SHARE * REQUESTS_PER_SECOND / KINDS))
    sent, wrongs = fuzz_document(examples, seed, click.echo)
    click.echo(f"{sent} requests by the document")
    return findings.failures, wrongs


def show(failure: Failure) -> None:
    """Print a case and what it breaks, and keep it."""
    click.echo(f"\n{failure.case.save(CORPUS)}\n{failure.what}\n{failure.case.to_json()}")


if __name__ == "__main__":
    main()
