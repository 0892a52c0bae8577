"""Length traces in files: CSV with the columns num_prefill_tokens, num_decode_tokens and, to replay arrivals, arrived_at.

Further columns are ignored. What is wrong with a file is said in one line with the file, the line and the column.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from fairlead_simulator.lengths import COLUMNS, Lengths

ARRIVAL_COLUMN = "arrived_at"
"""Seconds from the start of the trace, as Vidur's traces have it."""


class TraceError(ValueError):
    """A trace cannot be used; the message names file, line and column."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Rows of a trace; `arrival_seconds` is empty unless it was asked for."""

    lengths: tuple[Lengths, ...]
    arrival_seconds: tuple[float, ...] = ()


def read_trace(path: Path, *, check: Callable[[Lengths], None], arrivals: bool = False) -> Trace:
    """Read a trace; TraceError where a row cannot be used, OSError where the file cannot be read.

    `check` raises ValueError for lengths that cannot be served.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(str(path), file, check, arrivals=arrivals)
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: is not a text file in UTF-8") from error
    except csv.Error as error:
        raise TraceError(f"{path}: is not CSV: {error}") from error


def _parse(name: str, lines: Iterator[str], check: Callable[[Lengths], None], *, arrivals: bool) -> Trace:
    rows = csv.reader(lines)
    header = next(rows, [])
    wanted = (*COLUMNS, ARRIVAL_COLUMN) if arrivals else COLUMNS
    missing = [column for column in wanted if column not in header]
    if missing:
        raise TraceError(f"{name}:1: the header has no column {missing[0]}; it needs {', '.join(wanted)}")
    places = [header.index(column) for column in wanted]
    lengths: list[Lengths] = []
    times: list[float] = []
    for row in rows:
        if not row:
            continue
        try:
            lengths.append(_lengths(row, places, len(header)))
            check(lengths[-1])
            if arrivals:
                times.append(_arrival(row[places[2]], times[-1] if times else 0.0))
        except ValueError as error:
            raise TraceError(f"{name}:{rows.line_num}: {error}") from error
    if not lengths:
        raise TraceError(f"{name}: has no row after the header")
    if arrivals and not times[-1] > times[0]:
        raise TraceError(f"{name}: all rows have the same {ARRIVAL_COLUMN}; arrivals need time to pass")
    return Trace(tuple(lengths), tuple(times))


def _lengths(row: Sequence[str], places: Sequence[int], columns: int) -> Lengths:
    if len(row) <= max(places):
        raise ValueError(f"the row has {len(row)} of the header's {columns} columns")
    prompt, output = (_tokens(row[place], column) for place, column in zip(places, COLUMNS, strict=False))
    return Lengths(prompt, output)


def _tokens(text: str, column: str) -> int:
    try:
        tokens = int(text)
    except ValueError:
        tokens = 0
    if tokens < 1:
        raise ValueError(f"{column} must be a whole number of at least 1, not {text!r}")
    return tokens


def _arrival(text: str, previous: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise ValueError(f"{ARRIVAL_COLUMN} must be a number of seconds of at least 0, not {text!r}")
    if seconds < previous:
        raise ValueError(f"{ARRIVAL_COLUMN} {text} is before the row above ({previous:g}); sort the trace by it")
    return seconds
