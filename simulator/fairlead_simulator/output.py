"""Files that appear whole or not at all."""

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairlead_simulator.results import RunResult, Timeline, flat

TIMELINE_COLUMNS = ("scheduler", "qps", "seconds", "in_system", "running", "kv_used", "batch_tokens")
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def check_writable(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ValueError, before a long run rather than after it, for a file that could not be written."""
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: the name must end with {' or '.join(suffixes)}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{path}: {'is a folder' if path.is_dir() else f'there is no folder {path.parent}'}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path}: the folder {path.parent} cannot be written to")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file with the same suffix, which takes the place of `path` when all went well."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


def write_csv(path: Path, runs: Sequence[RunResult]) -> None:
    """Write a row a run: what the JSON holds, with the paths of its values as columns."""
    rows = [flat(run.as_json()) for run in runs]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        # a run that was stopped early has fewer quarters than others
        columns = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_timeline(path: Path, runs: Sequence[RunResult]) -> None:
    """Write the samples over time of all runs."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TIMELINE_COLUMNS)
        for run in runs:
            writer.writerows((run.scheduler, run.qps, *row) for row in _rows(run.figures.timeline))


def _rows(timeline: Timeline) -> Iterator[tuple[float, int, int, float, int]]:
    return zip(
        timeline.seconds,
        timeline.in_system,
        timeline.running,
        timeline.kv_used,
        timeline.batch_tokens,
        strict=True,
    )
