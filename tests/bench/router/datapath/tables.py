"""Tables of a run, for the page and for the screen alike: a row for each target, a column for each figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from datapath.figures import Measured, Spread, limited_by_measuring, spread
from datapath.targets import DIRECT


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; without rows where nothing was measured."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a case: its heading, and how it is written."""

    heading: str
    figure: str
    digits: int
    factor: float = 1.0
    added: bool = False
    """Above that of `direct` in the same round; `direct` itself stands in brackets."""
    bounded: bool = False
    """Marked as a lower bound where the measuring side was what limited it."""


REQUESTS = (
    Column("req/s", "requests_per_second", 0, bounded=True),
    Column("CPU ms/req", "cpu_ms_per_request", 3),
    Column("added p50 ms", "latency_p50_ms", 2, added=True),
    Column("added p99 ms", "latency_p99_ms", 2, added=True),
    Column("errors", "errors", 0),
)
STREAMS = (
    Column("chunks/s", "chunks_per_second", 0),
    Column("core %", "router_share", 0, 100),
    Column("CPU s/100k chunks", "cpu_seconds_per_100k_chunks", 2),
    Column("added TTFT p50 ms", "ttft_p50_ms", 2, added=True),
    Column("p99", "ttft_p99_ms", 2, added=True),
    Column("added token p50 ms", "token_p50_ms", 3, added=True),
    Column("p99", "token_p99_ms", 2, added=True),
    Column("p99.9", "token_p999_ms", 2, added=True),
    Column("loop lag p99 ms", "lag_p99_ms", 1),
    Column("errors", "errors", 0),
)
HELD = (
    Column("tokens/s held", "held_per_second", 0, bounded=True),
    Column("core % there", "router_share", 0, 100),
    Column("CPU s/100k chunks there", "cpu_seconds_per_100k_chunks", 2),
    Column("token p99 ms there", "token_p99_ms", 1),
    Column("loop lag p99 ms there", "lag_p99_ms", 1),
)
MEMORY = (
    Column("MB", "pss_mb", 0),
    Column("KB per stream", "kb_per_stream", 1),
    Column("open", "open", 0),
    Column("errors", "errors", 0),
)
WORKERS = (
    Column("chunks/s", "chunks_per_second", 0),
    Column("CPU s/100k chunks", "cpu_seconds_per_100k_chunks", 2),
    Column("token p99 ms", "token_p99_ms", 2),
    Column("errors", "errors", 0),
)
OF_SCENARIOS = {
    "requests": ("Answers that are not streamed", REQUESTS),
    "spread": ("Streams, tokens spread evenly", STREAMS),
    "bursts": ("Streams, tokens in bursts of a whole pod", STREAMS),
    "held": ("Highest rate held", HELD),
    "memory": ("Memory (PSS), streams of 1 token/s", MEMORY),
    "prompts": ("Long prompts, answers not streamed", REQUESTS),
    "workers": ("One and two processes, on two cores", WORKERS),
}


def of_scenarios(measured: Measured) -> list[Table]:
    """Return a table for each case of each scenario."""
    made = [
        _table(measured, scenario, case, f"{title}: {case}" if case != scenario else title, columns)
        for scenario, (title, columns) in OF_SCENARIOS.items()
        for case in measured.cases(scenario)
    ]
    return [table for table in made if table.rows]


def of_measuring_side(measured: Measured) -> Table:
    """Return how far the measuring side was from its own limit, and what disturbed: the worst case and round."""
    columns = (
        Column("measuring cores %", "measuring_share", 0, 100),
        Column("tokens late p99 ms", "pods_late_p99_ms", 2),
        Column("others on these cores and the router's %", "others_share", 0, 100),
    )
    rows = []
    for scenario in OF_SCENARIOS:
        for target in measured.targets(scenario):
            cells = [cell.figures for cell in measured.cells if (cell.scenario, cell.target) == (scenario, target)]
            worst = [
                max((value for figures in cells if (value := figures.get(column.figure)) is not None), default=None)
                for column in columns
            ]
            written = [
                "-" if v is None else f"{v * c.factor:.{c.digits}f}" for v, c in zip(worst, columns, strict=True)
            ]
            rows.append((scenario, target, *written))
    title = "The measuring side, and what disturbed: the worst case and round"
    return Table(title, ("scenario", "target", *(column.heading for column in columns)), tuple(rows))


def text_of(found: Spread | None, digits: int, *, factor: float = 1.0, unit: str = "") -> str:
    """Write a median and its spread, `1,234 (1,200 to 1,300)`; without spread where there was one round."""
    if found is None:
        return "-"
    middle, least, most = (f"{value * factor:,.{digits}f}" for value in (found.median, found.least, found.most))
    return f"{middle}{unit}" if found.rounds == 1 else f"{middle}{unit} ({least} to {most})"


def _table(measured: Measured, scenario: str, case: str, title: str, columns: Sequence[Column]) -> Table:
    """Columns that no target has a figure for are left out."""
    targets = measured.targets(scenario)
    texts = {column: [_text(measured, scenario, case, target, column) for target in targets] for column in columns}
    kept = {column: text for column, text in texts.items() if set(text) != {"-"}}
    rows = tuple((target, *(text[number] for text in kept.values())) for number, target in enumerate(targets))
    return Table(title, ("", *(column.heading for column in kept)), rows if kept else ())


def _text(measured: Measured, scenario: str, case: str, target: str, column: Column) -> str:
    added = column.added and target != DIRECT
    values = (measured.added if added else measured.values)(scenario, case, target, column.figure)
    text = text_of(spread(values), column.digits, factor=column.factor)
    if column.added and not added and text != "-":
        return f"[{text}]"
    return f">= {text}" if column.bounded and _bounded(measured, scenario, case, target) else text


def _bounded(measured: Measured, scenario: str, case: str, target: str) -> bool:
    """Whether the measuring side limited most rounds; what `direct` shows is its limit itself."""
    cells = [cell for cell in measured.cells if (cell.scenario, cell.case, cell.target) == (scenario, case, target)]
    limited = [bool(cell.figures.get("limited", limited_by_measuring(cell.figures))) for cell in cells]
    return target != DIRECT and sum(limited) * 2 > len(limited)
