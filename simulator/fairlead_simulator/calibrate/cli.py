"""`fairlead calibrate`: make a profile of an engine that runs."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fairlead_engine.profile_file import document_of
from fairlead_simulator.calibrate.fit import Fit, Measurement, fit, predicted_seconds
from fairlead_simulator.calibrate.measure import Engine, EngineError, Plan


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers greater than 0, separated by commas."""

    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Parse `1,2,4`."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers, for example 1,2,4", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{value!r}: every number must be at least 1", param, ctx)
        return numbers


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def calibrate() -> None:
    """Measure running engines and make profiles of them."""


@calibrate.command("engine")
@click.argument("url")
@click.option("--model", required=True, help="Model name to ask for.")
@click.option(
    "--prompt-tokens",
    type=Numbers(),
    default=(32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096),
    help="Prompts to time, one at a time. [default: 32,64,...,4096]",
)
@click.option(
    "--max-num-batched-tokens",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="The engine's token budget of a batch, as it was started with: longer prompts take several batches.",
)
@click.option(
    "--streams", type=Numbers(), default=(1, 4, 16, 64), help="Streams that run at once. [default: 1,4,16,64]"
)
@click.option(
    "--context-tokens", type=Numbers(), default=(32, 1024), help="Prompt lengths of the streams. [default: 32,1024]"
)
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Times each prompt is sent.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the profile here.")
@click.option("--json", "as_json", is_flag=True, help="Print measurements and profile as JSON.")
def engine(  # noqa: PLR0913, PLR0917 - one parameter a flag
    url: str,
    model: str,
    prompt_tokens: tuple[int, ...],
    max_num_batched_tokens: int,
    streams: tuple[int, ...],
    context_tokens: tuple[int, ...],
    repeats: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure the engine at URL and fit a batch-time profile to it.

    Nothing else should use the engine meanwhile. The profile goes to `fairlead-engine --profile FILE` and
    `fairlead simulate engine --profile FILE`.

    \b
      fairlead calibrate engine http://127.0.0.1:8000 --model mistral-7b -o mistral.json
    """  # noqa: D301 - click wants the control character
    plan = Plan(prompt_tokens, streams, context_tokens, max_num_batched_tokens, repeats)
    try:
        measured = asyncio.run(_measured(url, model, plan))
        fitted = fit(measured)
    except (EngineError, ValueError, aiohttp.ClientError, TimeoutError) as error:
        click.echo(f"fairlead calibrate: {url}: {error or type(error).__name__}", err=True)
        sys.exit(2)
    source = f"measured at {url}, model {model}, {datetime.now(UTC):%Y-%m-%d}, mean error {fitted.mean_error:.1%}"
    document = document_of(fitted.model, source)
    if output is not None:
        output.write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        rows = [
            {**asdict(m), "tokens": m.tokens, "predicted_seconds": predicted_seconds(fitted.model, m)} for m in measured
        ]
        errors = {"mean_error": fitted.mean_error, "largest_error": fitted.largest_error}
        click.echo(json.dumps({"profile": document, "measurements": rows, **errors}, indent=2))
    else:
        _show(measured, fitted)


async def _measured(url: str, model: str, plan: Plan) -> list[Measurement]:
    console = Console(stderr=True)
    timeout = aiohttp.ClientTimeout(total=600)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=plan.steps)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await Engine(session, url, model).measure(plan, lambda: progress.advance(task))


def _show(measured: Sequence[Measurement], fitted: Fit) -> None:
    table = Table("tokens", "batches", "context", "measured ms", "fitted ms", "error")
    for row in measured:
        seconds = predicted_seconds(fitted.model, row)
        error = f"{seconds / row.seconds - 1:+.1%}"
        times = (f"{row.seconds * 1e3:.2f}", f"{seconds * 1e3:.2f}", error)
        table.add_row(str(row.tokens), str(len(row.batches)), str(row.context_tokens), *times)
    console = Console()
    console.print(table)
    model = fitted.model
    console.print(
        f"T = max({model.floor_seconds * 1e3:.2f}, {model.token_seconds * 1e3:.4f} n) + {model.overhead_seconds * 1e3:.2f}"
        f" + {model.prefill_pair_seconds * 1e3:.2e} pairs + {model.context_token_seconds * 1e3:.2e} context   (ms)",
        highlight=False,
    )
    console.print(f"mean error {fitted.mean_error:.1%}, largest {fitted.largest_error:.1%}", highlight=False)
