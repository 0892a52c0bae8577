"""The targets beside the reference: ratios and differences of each round, of which the page shows median and spread."""

from collections.abc import Callable
from dataclasses import dataclass

from datapath.figures import Measured, spread
from datapath.tables import Table, text_of
from datapath.targets import BY_RESOURCES, DIRECT, IN_TURN, PROCESSES, REFERENCE


@dataclass(frozen=True, slots=True)
class Line:
    """One figure that is compared."""

    what: str
    scenario: str
    case: str
    figure: str


def ratio_lines(measured: Measured) -> list[Line]:
    """Return what is compared by ratio; `(+)`: more is better, `(-)`: less is."""
    cost = "cpu_seconds_per_100k_chunks"
    return [
        *(Line(f"req/s, {case} (+)", "requests", case, "requests_per_second") for case in measured.cases("requests")),
        *(
            Line(f"CPU per request, {case} (-)", "requests", case, "cpu_ms_per_request")
            for case in measured.cases("requests")
        ),
        *(Line("CPU per chunk (-)", "spread", case, cost) for case in measured.cases("spread")),
        *(Line("CPU per chunk, bursts (-)", "bursts", case, cost) for case in measured.cases("bursts")),
        Line("highest rate held (+)", "held", "held", "held_per_second"),
        *(
            Line(f"memory per stream, {case} (-)", "memory", case, "kb_per_stream")
            for case in measured.cases("memory")
            if case != "idle"
        ),
        *(
            Line(f"req/s, prompts of {case} (+)", "prompts", case, "requests_per_second")
            for case in measured.cases("prompts")
        ),
    ]


def latency_lines(measured: Measured) -> list[Line]:
    """Return what is compared by difference."""
    figures = {
        "TTFT p50": "ttft_p50_ms",
        "TTFT p99": "ttft_p99_ms",
        "token p50": "token_p50_ms",
        "token p99": "token_p99_ms",
        "token p99.9": "token_p999_ms",
    }
    return [
        Line(f"{what}, {scenario}", scenario, case, figure)
        for scenario in ("spread", "bursts")
        for case in measured.cases(scenario)
        for what, figure in figures.items()
    ]


def by_resources(measured: Measured) -> Table:
    """Return what routing by resources costs: its figures divided by those of round robin in the same round."""
    rows = [
        (line.what, text_of(spread(values), 2, unit="x"))
        for line in ratio_lines(measured)
        if any(values := measured.ratios(line.scenario, line.case, BY_RESOURCES, line.figure, to=IN_TURN))
    ]
    return Table(f"{BY_RESOURCES} divided by {IN_TURN} in the same round", ("", BY_RESOURCES), tuple(rows))


def two_processes(measured: Measured) -> Table:
    """Return what a chunk costs two processes, divided by what it costs one."""
    cost, cases = "cpu_seconds_per_100k_chunks", measured.cases("workers")
    rows = []
    if cases:
        half, whole = cases[0], cases[-1]
        for what, of_one in (("each with as much to do as the one", half), ("both together as much", whole)):
            ones = measured.values("workers", of_one, IN_TURN, cost)
            twos = measured.values("workers", whole, PROCESSES, cost)
            values = [two / one if one and two else None for one, two in zip(ones, twos, strict=True)]
            rows.append((f"CPU per chunk, {what} (-)", text_of(spread(values), 2, unit="x")))
    return Table("Two processes divided by one in the same round", ("", PROCESSES), tuple(rows))


def ratios(measured: Measured) -> Table:
    """Return every figure divided by that of the reference in the same round."""

    def ratio(line: Line, target: str) -> str:
        values = measured.ratios(line.scenario, line.case, target, line.figure, to=REFERENCE)
        return text_of(spread(values), 2, unit="x")

    return _table(f"Divided by {REFERENCE} in the same round", measured, ratio_lines(measured), ratio)


def differences(measured: Measured) -> Table:
    """Return every latency less that of the reference in the same round."""

    def difference(line: Line, target: str) -> str:
        values = measured.added(line.scenario, line.case, target, line.figure, base=REFERENCE)
        return text_of(spread(values), 2)

    return _table(f"Less {REFERENCE} in the same round, ms", measured, latency_lines(measured), difference)


def _table(title: str, measured: Measured, lines: list[Line], value: Callable[[Line, str], str]) -> Table:
    """A row for each line, a column for each target but `direct` and the reference."""
    compared = [name for name in measured.all_targets() if name not in (DIRECT, REFERENCE)]
    rows = [(line.what, *(value(line, target) for target in compared)) for line in lines]
    known = [number for number, _ in enumerate(compared, start=1) if any(row[number] != "-" for row in rows)]
    kept = [(row[0], *(row[number] for number in known)) for row in rows if any(row[number] != "-" for number in known)]
    return Table(title, ("", *(compared[number - 1] for number in known)), tuple(kept))
