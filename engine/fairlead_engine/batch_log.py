"""The batch log: what went into an engine core and which batches came out, line by line as JSON.

The first line is the header: how the core was built. Every other line is one call of the core, in the order of calls:

    {"at": 0.5, "add": {"request_id": "a", "prompt_tokens": 290, "output_tokens": 990}}
    {"at": 0.5, "batch": {"decodes": [], "context_tokens": 0, "prefills": [["a", 290, 0, true]], ...}}
    {"at": 0.5625, "complete": true}
    {"at": 0.5625, "abort": "a"}
    {"at": 0.5625, "batch": null}                there was nothing to do

`at` is in seconds of the recording engine's clock and survives the round trip exactly. An abort has the time of the call
before it: the core does not ask for one. Since a core has no clock and no randomness, a core that is built and called as
the log says must give the same batches.

Pure: lines go to and come from the caller, who owns the file.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairlead_engine.batching import Core
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Batch, PrefillChunk, Request, Token

VERSION = 1
VERSION_KEY = "fairlead_batch_log"


class BatchLogError(ValueError):
    """A batch log cannot be read; the message names the line."""


@dataclass(frozen=True, slots=True)
class Header:
    """How the recorded core was built."""

    scheduler: str
    options: Mapping[str, str]
    limits: Limits
    first_token_with_prefill: bool = True
    prefix_cache: bool = False

    def core(self) -> Core:
        """Build such a core; ValueError where scheduler, options and limits do not go together."""
        if self.scheduler not in SCHEDULERS:
            raise ValueError(f"scheduler {self.scheduler!r} is unknown; choose from {', '.join(SCHEDULERS)}")
        return Core(
            self.limits,
            SCHEDULERS[self.scheduler](self.options),
            first_token_with_prefill=self.first_token_with_prefill,
            prefix_cache=self.prefix_cache,
        )

    def line(self) -> str:
        """Give the log's first line."""
        return json.dumps({VERSION_KEY: VERSION, **asdict(self)})


class RecordedCore:
    """A core whose calls are written down; it takes the same calls."""

    def __init__(self, header: Header, write: Callable[[str], object]) -> None:
        """Build the core of `header`; `write` gets one line per call, without a line end, the header first."""
        self.core = header.core()
        self._write = write
        self._at = 0.0
        write(header.line())

    def add(self, request: Request, now: float) -> None:
        """As `Core.add`; a request that is refused is not written."""
        self.core.add(request, now)
        self._record(now, "add", _request_document(request))

    def abort(self, request_id: str) -> bool:
        """As `Core.abort`."""
        there = self.core.abort(request_id)
        if there:
            self._record(self._at, "abort", request_id)
        return there

    def next_batch(self, now: float) -> Batch | None:
        """As `Core.next_batch`."""
        batch = self.core.next_batch(now)
        self._record(now, "batch", None if batch is None else _batch_document(batch))
        return batch

    def complete(self, batch: Batch, now: float) -> list[Token]:
        """As `Core.complete`."""
        tokens = self.core.complete(batch, now)
        self._record(now, "complete", True)
        return tokens

    def _record(self, at: float, what: str, value: object) -> None:
        self._at = at
        self._write(json.dumps({"at": at, what: value}))


@dataclass(frozen=True, slots=True)
class Added:
    """The call `add(request, at)`."""

    at: float
    request: Request


@dataclass(frozen=True, slots=True)
class Aborted:
    """The call `abort(request_id)`, which found the request."""

    at: float
    request_id: str


@dataclass(frozen=True, slots=True)
class Composed:
    """The call `next_batch(at)`, and what came out."""

    at: float
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class Completed:
    """The call `complete(batch, at)` for the batch before."""

    at: float


Event = Added | Aborted | Composed | Completed


def read(lines: Iterable[str]) -> tuple[Header, Iterator[tuple[int, Event]]]:
    """Read a log: its header, and its calls one by one, each with the number of its line (from 1).

    Raises
    ------
    BatchLogError
        A line is not of the format; for lines after the first, when it is their turn.

    """
    numbered = enumerate(lines, start=1)
    with in_line(1):
        header = _header(json.loads(next(numbered, (1, "{}"))[1]))
    return header, _events(numbered)


@contextmanager
def in_line(number: int) -> Iterator[None]:
    """Give an error the number of the line that it is about."""
    try:
        yield
    except KeyError as error:
        raise BatchLogError(f"line {number}: {error} is missing") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise BatchLogError(f"line {number}: {error}") from error


def _events(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Event]]:
    for number, line in numbered:
        with in_line(number):
            event = _event(json.loads(line))
        yield number, event


def _header(document: Any) -> Header:
    if not isinstance(document, dict) or document.pop(VERSION_KEY, None) != VERSION:
        raise ValueError(
            f"this is no batch log of version {VERSION}: its first line must have {VERSION_KEY!r}: {VERSION}"
        )
    return Header(**document | {"limits": Limits(**document["limits"])})


def _event(document: Any) -> Event:
    if not isinstance(document, dict):
        raise TypeError(f"must be an object, not {document!r:.60}")
    at = float(document["at"])
    match document:
        case {"add": request}:
            return Added(at, Request(**request | {"block_hashes": tuple(request.get("block_hashes", ()))}))
        case {"abort": request_id}:
            return Aborted(at, request_id)
        case {"batch": batch}:
            return Composed(at, None if batch is None else _batch(batch))
        case {"complete": True}:
            return Completed(at)
    raise ValueError(f"has none of add, abort, batch and complete, but {', '.join(document)}")


def _request_document(request: Request) -> dict[str, Any]:
    """Give what differs from the defaults: most requests have an id and two lengths."""
    return {
        field.name: getattr(request, field.name)
        for field in fields(request)
        if getattr(request, field.name) != field.default
    }


def _batch_document(batch: Batch) -> dict[str, Any]:
    # astuple would copy every decode's id on its way
    return {field.name: getattr(batch, field.name) for field in fields(batch)} | {
        "prefills": [(c.request_id, c.tokens, c.processed_tokens, c.completes_prompt) for c in batch.prefills]
    }


def _batch(document: dict[str, Any]) -> Batch:
    return Batch(
        decodes=tuple(document["decodes"]),
        context_tokens=document["context_tokens"],
        prefills=tuple(PrefillChunk(*chunk) for chunk in document["prefills"]),
        admitted=tuple(document["admitted"]),
        preempted=tuple(document["preempted"]),
    )
