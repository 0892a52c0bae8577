"""`fairlead simulate replay`: whether a live engine composed the batches that the simulator composes."""

import json
from pathlib import Path

import click

from fairlead_simulator.command_line import Command, bad_input
from fairlead_simulator.replay import replay


@click.command("replay", cls=Command)
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a line.")
def replay_command(log: Path, as_json: bool) -> None:
    """Replay the batch log LOG of a live engine, and tell whether the batches are identical.

    Exit code 1, and the first difference on standard error, when they are not.

    \b
      fairlead-engine --scheduler slai --batch-log batches.jsonl
      fairlead simulate replay batches.jsonl
    """  # noqa: D301 - click wants the control character
    with bad_input(), log.open(encoding="utf-8") as file, bad_input(str(log)):
        found = replay(file)
    same = found.difference is None
    if as_json:
        head = {"scheduler": found.header.scheduler, "requests": found.requests, "batches": found.batches}
        difference = None if same else str(found.difference)
        click.echo(json.dumps({**head, "identical": same, "difference": difference}, indent=2))
    elif same:
        click.echo(f"{found.requests} requests, {found.batches} batches of {found.header.scheduler}: identical")
    if not same:
        raise click.ClickException(f"{log} differs from its replay after {found.batches} batches: {found.difference}")
