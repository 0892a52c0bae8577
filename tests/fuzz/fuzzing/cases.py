"""A case: bytes for the router, from its clients and from its engines, and when they arrive."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self


class Farewell(StrEnum):
    """How a client ends, once it has sent everything."""

    WAITS = "waits"
    """For the router to close the connection."""
    HALF_CLOSES = "half-closes"
    CLOSES = "closes"
    RESETS = "resets"
    DEAF = "deaf"
    """Waits, and reads nothing."""


class Afterwards(StrEnum):
    """What an engine does behind its reply."""

    KEEPS = "keeps"
    """Keeps the connection for the next request."""
    CLOSES = "closes"
    RESETS = "resets"


@dataclass(frozen=True, slots=True)
class Caller:
    """One client connection; the event loop has a turn between two pieces."""

    pieces: tuple[bytes, ...]
    farewell: Farewell = Farewell.WAITS
    requests: int | None = None
    """How many requests these are, where that can be said; the last may be cut off."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine sends for one request; `early`: as soon as it has seen the head."""

    pieces: tuple[bytes, ...]
    afterwards: Afterwards = Afterwards.KEEPS
    early: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Callers at the same time, the replies of the engines in turn; `locked`: only who has a key may come in."""

    callers: tuple[Caller, ...]
    replies: tuple[Reply, ...] = ()
    locked: bool = False

    def to_json(self) -> str:
        """Write the case down; bytes as characters of Latin-1."""
        return json.dumps(asdict(self), indent=1, default=lambda value: value.decode("latin-1")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a case that `to_json` has written."""
        document = json.loads(text)
        callers = tuple(
            Caller(_pieces(each), Farewell(each["farewell"]), each["requests"]) for each in document["callers"]
        )
        replies = tuple(
            Reply(_pieces(each), Afterwards(each["afterwards"]), each["early"]) for each in document["replies"]
        )
        return cls(callers, replies, document["locked"])

    def save(self, folder: Path) -> Path:
        """Write the case into a folder, under a name that depends on what is in it."""
        text = self.to_json()
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
        path.write_text(text)
        return path


def _pieces(document: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(piece.encode("latin-1") for piece in document["pieces"])
