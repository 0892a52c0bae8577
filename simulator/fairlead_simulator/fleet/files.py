"""Reads the files of a fleet simulation: an SLO declaration and a workload.

Every reader raises ValueError with a message that names the file, the field and what would be right.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fairlead_router.config import ServiceClass, check_classes, one_line
from fairlead_router.decisions.types import Slo
from fairlead_router.settings import class_rules, slo_of
from fairlead_simulator import specs
from fairlead_simulator.arrivals import ARRIVALS
from fairlead_simulator.fleet.scenario import ClassSpec, Stream
from fairlead_simulator.traces import read_trace
from fairlead_simulator.workload import LengthSource, TraceLengths

DEFAULT_CLASS = ClassSpec("default", Slo(ttft_seconds=2.0, tbt_seconds=0.1))
"""Of a pool that declares none: without limits every answer would be good."""


def read_classes(path: Path) -> tuple[ClassSpec, ...]:
    """Read `classes` of a file: of an InferencePool's manifest, of a router's configuration, or alone."""
    document = _document(path)
    spec = document.get("spec", document)
    declared = spec.get("classes") if isinstance(spec, dict) else None
    if not isinstance(declared, list) or not declared:
        raise ValueError(f"{path}: it declares no classes; write classes: [{{name: default, ttft: 1s, tbt: 200ms}}]")
    try:
        classes = [ServiceClass.model_validate(each) for each in declared]
        check_classes(classes)
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    return tuple(ClassSpec(each.name, slo_of(each), class_rules(each)) for each in classes)


class _StreamFile(BaseModel):
    """One stream of a workload file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    service_class: str = Field(alias="class")
    share: float = Field(default=1.0, gt=0)
    lengths: str = "sharegpt"
    trace: Path | None = None
    arrivals: str = "poisson"
    tenants: dict[str, float] = Field(default_factory=lambda: {"": 1.0})


class _WorkloadFile(BaseModel):
    """A workload file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: tuple[_StreamFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_are_positive(self) -> Self:
        if any(weight <= 0 for stream in self.streams for weight in stream.tenants.values()):
            raise ValueError("tenants: every weight must be above 0")
        return self


def read_workload(path: Path, classes: Sequence[ClassSpec]) -> tuple[Stream, ...]:
    """Read a workload; shares are scaled so that they add up to 1."""
    try:
        file = _WorkloadFile.model_validate(_document(path))
        total = sum(stream.share for stream in file.streams)
        return tuple(_stream(stream, total, path.parent, classes) for stream in file.streams)
    except (ValidationError, ValueError) as error:
        raise ValueError(f"{path}: {one_line(error)}") from error


def default_workload(classes: Sequence[ClassSpec]) -> tuple[Stream, ...]:
    """Return ShareGPT's lengths for every class, in equal shares."""
    return tuple(Stream(each.name, 1 / len(classes)) for each in classes)


def _stream(file: _StreamFile, total: float, folder: Path, classes: Sequence[ClassSpec]) -> Stream:
    names = [each.name for each in classes]
    if file.service_class not in names:
        raise ValueError(f"class {file.service_class!r} is not declared; use one of: {', '.join(names)}")
    lengths: LengthSource = specs.lengths(file.lengths)
    if file.trace is not None:
        lengths = TraceLengths(read_trace(folder / file.trace, check=lambda _: None).lengths)
    arrivals = specs.build("arrivals", file.arrivals, ARRIVALS)
    return Stream(file.service_class, file.share / total, lengths, arrivals, tuple(file.tenants.items()))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: it must be a mapping, not {type(document).__name__}")  # noqa: TRY004 - a mistake
    return document
