"""`fairlead simulate`: workloads and simulations."""

from typing import TextIO

import click

from fairlead_simulator.command_line import Command
from fairlead_simulator.engine_command import engine
from fairlead_simulator.fleet.command import fleet
from fairlead_simulator.lengths import take, write_csv
from fairlead_simulator.region_command import region_command
from fairlead_simulator.replay_command import replay_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def simulate() -> None:
    """Make workloads, and simulate engines under them."""


@simulate.command("lengths", cls=Command)
@click.option("--requests", type=click.IntRange(min=1), default=2000, show_default=True, help="Number of requests.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same trace.")
@click.option("--output", "-o", type=click.File("w", lazy=True, atomic=True), default="-", help="Default: the screen.")
def lengths(requests: int, seed: int, output: TextIO) -> None:
    """Write a trace of prompt and output lengths, as CSV, like those of ShareGPT conversations.

    \b
      fairlead simulate lengths --requests 500 --seed 7 -o trace.csv

    Columns: num_prefill_tokens, num_decode_tokens.
    """  # noqa: D301 - click wants the control character
    write_csv(take(requests, seed), output)


simulate.add_command(engine)
simulate.add_command(fleet)
simulate.add_command(region_command)
simulate.add_command(replay_command)
