"""Results for the eye: tables by rich."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from fairlead_simulator.capacity import Capacity
from fairlead_simulator.region import Load, RadBound, Region
from fairlead_simulator.results import RunResult

WIDTH_WITHOUT_TERMINAL = 200
"""Columns of a table that goes to a file or a pipe: nothing is cut."""


def print_runs(runs: Sequence[RunResult]) -> None:
    """Print a row a run, times in seconds."""
    users = list(runs[0].figures.tbt)
    table = Table(title="TTFT: arrival to prefill completion; times in seconds", title_justify="left")
    table.add_column("scheduler", overflow="fold")
    for name in ("req/s", "ended", "TTFT p50", "p90", "p99", "first token p50"):
        table.add_column(name, justify="right")
    for user in users:
        table.add_column(f"TBT {user} p99", justify="right")
        table.add_column("over", justify="right")
    for name in ("preempted", "KV mean", "in system", "tokens/s", "simulated", "took"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(run.scheduler, *_cells(run, users))
    make_console().print(table)


def _cells(run: RunResult, users: Sequence[str]) -> list[str]:
    figures = run.figures
    ttft = figures.ttft
    cells = [f"{run.qps:g}", f"{figures.completed}/{run.requests}"]
    cells += [_seconds(value) for value in (ttft.p50, ttft.p90, ttft.p99, figures.first_token.p50)]
    for user in users:
        gaps = figures.tbt[user]
        cells += [_seconds(gaps.p99), "-" if gaps.share_over is None else f"{gaps.share_over:.2%}"]
    cells += [f"{figures.preemptions}", f"{figures.kv_used.mean:.0%}", f"{figures.in_system.mean:.1f}"]
    return [*cells, f"{figures.tokens_per_second:.0f}", f"{figures.sim_seconds:.0f}", f"{run.wall_seconds:.1f}"]


def print_capacities(capacities: Sequence[Capacity]) -> None:
    """Print every run of the searches, then a line per scheduler."""
    print_runs([run for capacity in capacities for run in capacity.runs])
    for capacity in capacities:
        more = ", or more: it holds at every rate tried" if capacity.exceeds_grid else ""
        name = capacity.runs[0].scheduler
        make_console().print(f"{name}: {capacity.condition} up to {capacity.qps:g} req/s{more}", highlight=False)


def print_regions(regions: Sequence[Region], bound: RadBound, load: Load) -> None:
    """Print corners of the regions and the bounds on the rate of requests."""
    table = Table("b_max", "k_max", title="Corners of the stability region", title_justify="left")
    for name in ("prompt tokens/ms", "output tokens/ms", "batch"):
        table.add_column(name, justify="right")
    for region in regions:
        limit = "none" if region.k_max is None else str(region.k_max)
        for vertex in region.vertices:
            batch = f"{vertex.prefill_tokens} + {vertex.decodes}"
            rates = (vertex.prefill_tokens_per_ms, vertex.decode_tokens_per_ms)
            table.add_row(str(region.b_max), limit, *(f"{rate:.4f}" for rate in rates), batch)
        table.add_section()
    console = make_console()
    console.print(table)
    lines = [f"load: {load.prompt_tokens:.1f} prompt and {load.output_tokens:.1f} output tokens per request"]
    lines += [f"b_max {region.b_max}: stable below {region.requests_per_second:.3f} req/s" for region in regions]
    bounded = "and no scheduler more" if bound.bounds_every_scheduler else "larger batches more"
    lines.append(
        f"RAD: full tiles of {bound.tile_tokens} carry {bound.requests_per_second:.3f} req/s, {bounded}; "
        f"{bound.padded_requests_per_second:.3f} when every prompt fills its last tile"
    )
    console.print("\n".join(lines), highlight=False)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def make_console() -> Console:
    """Return a console; what does not go to a terminal is not cut."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console
