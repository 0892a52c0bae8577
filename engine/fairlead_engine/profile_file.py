"""Profiles in files: a batch-time model as JSON, as `fairlead calibrate` writes it.

    {"model": "roofline", "source": "measured at ...", "floor_seconds": 0.0156, ...}

`model` names the kind, the other fields are its parameters.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from fairlead_engine.batch_time import PROFILES, Attention, BatchTime, Linear, Roofline, Staircase, Table

Profile = Linear | Staircase | Roofline | Table
Built = TypeVar("Built", Linear | Staircase | Roofline | Table, Attention)

KINDS: Mapping[str, type[Profile]] = {"linear": Linear, "staircase": Staircase, "roofline": Roofline, "table": Table}


class ProfileError(ValueError):
    """A profile cannot be had; the message names the file, the field and what is allowed."""


def profile(name: str) -> BatchTime:
    """Give the profile of that name, or the one in the file of that name.

    Raises
    ------
    ProfileError
        There is neither, or the file holds no profile.

    """
    if name in PROFILES:
        return PROFILES[name]
    try:
        document = json.loads(Path(name).read_text())
    except OSError as error:
        known = ", ".join(PROFILES)
        raise ProfileError(f"profile {name!r}: neither a file nor one of {known}") from error
    except ValueError as error:
        raise ProfileError(f"{name}: not JSON: {error}") from error
    return parse(document, name)


def parse(document: Any, where: str) -> BatchTime:
    """Read a profile from its document; `where` goes into messages.

    Raises
    ------
    ProfileError
        A field is missing, unknown or no number of at least 0.

    """
    if not isinstance(document, Mapping) or document.get("model") not in KINDS:
        raise ProfileError(f"{where}: model must be one of {', '.join(KINDS)}")
    kind = KINDS[document["model"]]
    values = {name: value for name, value in document.items() if name not in {"model", "source"}}
    if (attention := values.pop("attention", None)) is not None:
        values["attention"] = _built(Attention, attention, f"{where}: attention")
    return _built(kind, values, where)


def _built(kind: type[Built], values: Any, where: str) -> Built:
    if not isinstance(values, Mapping):
        raise ProfileError(f"{where}: must be an object, not {values!r:.60}")
    allowed = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if odd := sorted((values.keys() - allowed) | (needed - values.keys())):
        raise ProfileError(
            f"{where}: missing or unknown fields: {', '.join(odd)}; allowed are {', '.join(sorted(allowed))}"
        )
    for name, value in values.items():
        _check(name, value, where)
    arguments: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in values.items()}
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ProfileError(f"{where}: {error}") from error


def _check(name: str, value: Any, where: str) -> None:
    if isinstance(value, list):
        for part in value:
            _check(name, part, where)
    elif not isinstance(value, Attention | None) and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf
    ):
        raise ProfileError(f"{where}: {name} must be a number of at least 0, not {value!r}")


def document_of(model: Profile, source: str) -> dict[str, Any]:
    """Give the document of a profile; `source` says where its numbers come from."""
    [kind] = [name for name, made in KINDS.items() if isinstance(model, made)]
    return {"model": kind, "source": source, **asdict(model)}
