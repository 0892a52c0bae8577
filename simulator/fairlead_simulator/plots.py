"""Pictures of results, by matplotlib, without a screen."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fairlead_simulator.region import Region
from fairlead_simulator.results import RunResult

WIDE = 50.0
"""Where the largest value is so many times the smallest, only a logarithmic axis shows both."""


def draw_runs(path: Path, runs: Sequence[RunResult]) -> None:
    """Draw latency over the rate or, where there is only one rate, the distribution of the TTFT."""
    figure = make_figure(2, 2)
    left, right, below_left, below_right = figure.subplots(2, 2).flat
    if len({run.qps for run in runs}) == 1:
        _draw_distributions(left, runs)
    else:
        _over_rate(left, runs, "median TTFT (s)", [run.figures.ttft.p50 for run in runs])
    _over_rate(right, runs, "p99 TTFT (s)", [run.figures.ttft.p99 for run in runs])
    user = next(iter(runs[0].figures.tbt))
    _over_rate(below_left, runs, f"p99 TBT of {user} users (s)", [run.figures.tbt[user].p99 for run in runs])
    _over_rate(below_right, runs, "mean share of KV blocks used", [run.figures.kv_used.mean for run in runs])
    figure.savefig(path)


def draw_timeline(path: Path, runs: Sequence[RunResult]) -> None:
    """Draw requests in the system and the memory they hold over time."""
    figure = make_figure(2, 1)
    above, below = figure.subplots(2, 1, sharex=True)
    for run in runs:
        timeline = run.figures.timeline
        label = f"{run.scheduler}, {run.qps:g} req/s"
        above.plot(timeline.seconds, timeline.in_system, label=label, linewidth=0.8)
        below.plot(timeline.seconds, timeline.kv_used, label=label, linewidth=0.8)
    above.set_ylabel("requests in the system")
    below.set_ylabel("share of KV blocks used")
    below.set_xlabel("time (s)")
    above.legend()
    figure.savefig(path)


def draw_regions(path: Path, regions: Sequence[Region], load: tuple[float, float]) -> None:
    """Draw stability regions and the direction of the load: prompt and output tokens per request."""
    figure = make_figure(1, 1)
    axes = figure.subplots()
    for region in regions:
        corners = [
            (0.0, 0.0),
            *((v.prefill_tokens_per_ms, v.decode_tokens_per_ms) for v in region.vertices),
            (0.0, 0.0),
        ]
        axes.plot(*zip(*corners, strict=True), marker="o", label=f"b_max {region.b_max}")
    longest = max(region.requests_per_second for region in regions) * 1.1e-3
    axes.plot((0, longest * load[0]), (0, longest * load[1]), linestyle="--", label="load")
    axes.set_xlabel("prompt tokens per ms")
    axes.set_ylabel("output tokens per ms")
    axes.legend()
    figure.savefig(path)


def make_figure(rows: int, columns: int) -> Figure:
    """Return a figure for a grid of plots."""
    figure = Figure(figsize=(5 * columns + 1, 3.2 * rows + 1), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    return figure


def _over_rate(axes: Axes, runs: Sequence[RunResult], title: str, values: Sequence[float | None]) -> None:
    points = sorted(
        (run.scheduler, run.qps, value) for run, value in zip(runs, values, strict=True) if value is not None
    )
    for scheduler, group in groupby(points, key=lambda point: point[0]):
        rows = list(group)
        axes.plot([row[1] for row in rows], [row[2] for row in rows], marker="o", label=scheduler)
    axes.set_xlabel("nominal requests per second")
    axes.set_ylabel(title)
    if points:
        axes.legend()
        heights = [height for _, _, height in points]
        if max(heights) > WIDE * min(heights) > 0:
            axes.set_yscale("log")


def _draw_distributions(axes: Axes, runs: Sequence[RunResult]) -> None:
    for run in runs:
        curve = run.figures.ttft_curve
        axes.plot(curve, [index / (len(curve) - 1) for index in range(len(curve))], label=run.scheduler)
    axes.set_xscale("log")
    axes.set_xlabel("TTFT (s)")
    axes.set_ylabel("share of requests")
    axes.legend()
