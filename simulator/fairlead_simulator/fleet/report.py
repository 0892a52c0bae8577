"""Results of fleet runs for the eye: a table by rich."""

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from rich.table import Table

from fairlead_simulator.fleet.results import FleetResult
from fairlead_simulator.report import make_console


def print_fleet(groups: Sequence[Sequence[FleetResult]], capacity: float | None) -> None:
    """Print a row per policy and rate, as means over the seeds; goodput with its standard deviation."""
    first = groups[0][0]
    classes = list(first.figures.classes)
    at = "req/s" if capacity is None else "load"
    title = f"{first.pods} pods, {first.scheduler}: goodput = met TTFT and TBT / offered; times in seconds"
    table = Table("policy", title=title, title_justify="left")
    for name in (at, "goodput"):
        table.add_column(name, justify="right")
    for name in classes:
        for column in (f"{name} goodput", "TTFT p50", "p99", "worst TBT p99"):
            table.add_column(column, justify="right")
    for name in ("rejected", "waste", "fairness"):
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(*_cells(group, classes))
    console = make_console()
    console.print(table)
    if capacity is not None:
        console.print(f"capacity: {capacity:.2f} req/s, every pod supplied from one backlog", highlight=False)


def _cells(group: Sequence[FleetResult], classes: Sequence[str]) -> list[str]:
    first = group[0]
    cells = [first.policy, f"{first.qps:.2f}" if first.load is None else f"{first.load:g}"]
    cells.append(_share([result.figures.goodput for result in group], spread=True))
    for name in classes:
        of_class = [result.figures.classes[name] for result in group]
        cells.append(_share([figures.goodput for figures in of_class]))
        cells += [
            _seconds([getattr(figures, field) for figures in of_class])
            for field in ("ttft_p50", "ttft_p99", "worst_tbt_p99")
        ]
    rejected = [
        sum(c.rejected for c in result.figures.classes.values()) / max(1, result.figures.offered) for result in group
    ]
    return [
        *cells,
        _share(rejected),
        _share([result.figures.waste for result in group]),
        _mean([result.figures.fairness for result in group], "{:.3f}".format),
    ]


def _share(values: Sequence[float | None], *, spread: bool = False) -> str:
    known = [value for value in values if value is not None]
    more = f" ±{stdev(known):.1%}" if spread and len(known) > 1 else ""
    return _mean(values, "{:.1%}".format) + more


def _seconds(values: Sequence[float | None]) -> str:
    return _mean(values, "{:.3f}".format)


def _mean(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return shown(fmean(known)) if known else "-"
