"""Results in a file: what was run, on what, and every cell, so that each figure of the page can be computed again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isinf
from pathlib import Path
from typing import Any, Self

from datapath.figures import Cell, Figures

ROOT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a reader must know about a target."""

    what: str
    version: str
    command: str


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run."""

    command: str
    form: str
    rounds: int
    patience: int
    """How often a disturbed window was measured again."""
    commit: str
    uncommitted: bool
    """Whether the router or this benchmark had changes that the commit does not have."""
    date: str
    machine: Mapping[str, str | int]
    placement: Mapping[str, str]
    targets: Mapping[str, TargetFacts]
    left_out: Mapping[str, str]
    """Targets that could not be measured, and why."""
    failures: tuple[str, ...]
    cells: tuple[Cell, ...]

    def to_json(self) -> str:
        """Render as JSON, a line for each cell."""
        document = {"what": "The router's data path beside other routers", **asdict(self)}
        del document["cells"]
        head = json.dumps(document, indent=1)[:-2]
        cells = ",\n".join(f"  {json.dumps(_rounded(cell))}" for cell in self.cells)
        return f'{head},\n "cells": [\n{cells}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        del document["what"]
        document["targets"] = {name: TargetFacts(**facts) for name, facts in document["targets"].items()}
        document["cells"] = tuple(Cell(**cell) for cell in document["cells"])
        document["failures"] = tuple(document["failures"])
        return cls(**document)


def _rounded(cell: Cell) -> dict[str, Any]:
    """Four digits: more would be noise, and lines that cannot be read. A lag beyond all buckets is `Infinity`."""
    figures: Figures = {
        name: value if value is None or isinf(value) else round(value) if value >= 10_000 else float(f"{value:.4g}")
        for name, value in cell.figures.items()
    }
    return asdict(cell) | {"figures": figures}


def named(numbers: Iterable[int]) -> str:
    """Return cores as a reader likes them: `core 0`, `cores 0 and 1`."""
    names = [str(number) for number in sorted(numbers)]
    return f"core {names[0]}" if len(names) == 1 else f"cores {', '.join(names[:-1])} and {names[-1]}"
