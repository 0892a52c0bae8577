"""`fairlead simulate region`: which loads an engine can carry at all."""

import json
from itertools import islice
from pathlib import Path
from random import Random

import click

from fairlead_engine.profile_file import profile as batch_time_of
from fairlead_simulator import specs
from fairlead_simulator.command_line import BadInputError, Command, bad_input, reading
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.output import PLOT_SUFFIXES, check_writable, replacing
from fairlead_simulator.region import load, rad_bound, region, tile_of
from fairlead_simulator.report import print_regions
from fairlead_simulator.traces import read_trace
from fairlead_simulator.workload import Drawn, Fixed, ShareGpt

DRAWN_REQUESTS = 20_000
"""Requests that are drawn to average lengths that have no file: the standard error of a mean is below 1 %."""


@click.command("region", cls=Command, context_settings={"show_default": True, "max_content_width": 110})
@click.option("--profile", default="mistral-7b-rtx6000-ada", metavar="NAME|FILE", help="Batch-time model.")
@click.option(
    "--lengths",
    default=None,
    metavar="SPEC",
    callback=reading(specs.lengths),
    help="sharegpt, fixed:PROMPT,OUTPUT or conversations:...  [default: sharegpt]",
)
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Lengths from a CSV instead.")
@click.option("--k-max", type=click.IntRange(min=2), metavar="K", help="Requests in one batch.  [default: no limit]")
@click.option(
    "--b-max", default="512", metavar="B[,B]", callback=reading(specs.whole_numbers), help="Token budgets of a batch."
)
@click.option(
    "--tile", type=click.IntRange(min=1), metavar="N", help="Tokens of a tile.  [default: the profile's, or 128]"
)
@click.option("--seed", type=int, default=42, help="Of lengths that are drawn.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it (.png, .svg or .pdf).")
def region_command(  # noqa: PLR0913 - click gives every option a parameter
    *,
    profile: str,
    lengths: Drawn | None,
    trace: Path | None,
    k_max: int | None,
    b_max: tuple[int, ...],
    tile: int | None,
    seed: int,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print the stability region of an engine, and the bound that full tiles set.

    The region is that of Dai, Deng, Li and Peng (arXiv 2504.07347): token rates that some scheduler can carry with batches
    of at most --b-max tokens and --k-max requests. The bound is that of Bari, Hegde and de Veciana (arXiv 2508.01002), which
    their scheduler RAD reaches. KV memory is taken to be large enough.

    \b
      fairlead simulate region --profile codellama-34b-a100 --lengths fixed:290,990 --k-max 100 --b-max 128,256,512
      fairlead simulate region --profile tiles-128 --lengths fixed:576,185 --json
    """  # noqa: D301 - click wants the control character
    with bad_input():
        if plot is not None:
            check_writable(plot, PLOT_SUFFIXES)
        batch_time = batch_time_of(profile)
        tile_tokens = tile or tile_of(batch_time)
        mean = load(_lengths(trace, lengths, seed), tile_tokens)
    regions = [region(batch_time, mean, budget, k_max) for budget in b_max]
    bound = rad_bound(batch_time, mean, tile_tokens)
    if plot is not None:
        from fairlead_simulator.plots import draw_regions  # noqa: PLC0415 - half a second that most runs do not need

        with bad_input(), replacing(plot) as temporary:
            draw_regions(temporary, regions, (mean.prompt_tokens, mean.output_tokens))
    if as_json:
        document = {
            "profile": profile,
            "load": {"prompt_tokens": mean.prompt_tokens, "output_tokens": mean.output_tokens},
            "regions": [found.as_json() for found in regions],
            "rad": bound.as_json(),
        }
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        print_regions(regions, bound, mean)


def _lengths(trace: Path | None, drawn: Drawn | None, seed: int) -> list[Lengths]:
    if trace is not None:
        if drawn is not None:
            raise BadInputError("--trace and --lengths exclude each other: lengths come from one of them")
        return list(read_trace(trace, check=lambda _: None).lengths)
    source = drawn or ShareGpt()
    requests = 1 if isinstance(source, Fixed) else DRAWN_REQUESTS
    return list(islice(source.lengths(Random(seed)), requests))  # noqa: S311 - a workload, not secrets
