"""Replays the batch log of a live engine: the same calls must give the same batches."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from fairlead_engine.batch_log import Aborted, Added, Completed, Composed, Event, Header, in_line, read
from fairlead_engine.batching import Core
from fairlead_engine.types import Batch


@dataclass(frozen=True, slots=True)
class Difference:
    """The first batch that the replay composed otherwise, with its line in the log (from 1) and its time."""

    line: int
    at: float
    recorded: Batch | None
    replayed: Batch | None

    def __str__(self) -> str:
        """Name the fields that differ, with both values."""
        where = f"line {self.line}, at {self.at} s"
        if self.recorded is None or self.replayed is None:
            return f"{where}: recorded {self.recorded}, replayed {self.replayed}"
        names = [f.name for f in fields(Batch) if getattr(self.recorded, f.name) != getattr(self.replayed, f.name)]
        parts = (f"{n} recorded {getattr(self.recorded, n)}, replayed {getattr(self.replayed, n)}" for n in names)
        return f"{where}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found: requests and batches that went by, and the first batch that differs, if any."""

    header: Header
    requests: int
    batches: int
    difference: Difference | None


def replay(lines: Iterable[str]) -> Replay:
    """Build a core as the log's header says, call it as the log says, and compare batches until one differs.

    Raises
    ------
    BatchLogError
        A line is not of the format, or the core refuses the call that it asks for.

    """
    header, events = read(lines)
    with in_line(1):
        core = header.core()
    requests = batches = 0
    in_flight: Batch | None = None
    for line, event in events:
        with in_line(line):
            if isinstance(event, Composed):
                in_flight = core.next_batch(event.at)
            else:
                _call(core, event, in_flight)
        requests += isinstance(event, Added)
        if isinstance(event, Composed):
            if event.batch != in_flight:
                return Replay(header, requests, batches, Difference(line, event.at, event.batch, in_flight))
            batches += in_flight is not None
    return Replay(header, requests, batches, None)


def _call(core: Core, event: Event, in_flight: Batch | None) -> None:
    match event:
        case Added(at, request):
            core.add(request, at)
        case Aborted(_, request_id):
            if not core.abort(request_id):
                raise ValueError(f"aborts {request_id!r}, which is not there")
        case Completed(at):
            if in_flight is None:
                raise ValueError("completes a batch, and none is in flight")
            core.complete(in_flight, at)
