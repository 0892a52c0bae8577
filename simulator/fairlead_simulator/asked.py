"""The workload that a command line asks for, tried against the engines that are to serve it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead_simulator.arrivals import ARRIVALS, Arrivals, Replay
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.setup import Setup
from fairlead_simulator.specs import build
from fairlead_simulator.traces import read_trace
from fairlead_simulator.workload import Drawn, LengthSource, ShareGpt, TraceLengths, User, Workload

REPLAYED = "trace"
DEFAULT_QPS = 1.6


@dataclass(frozen=True, slots=True)
class AskedWorkload:
    """What the flags say; None where a flag was not given."""

    trace: Path | None
    lengths: Drawn | None
    arrivals: str
    qps: tuple[float, ...] | None
    requests: int
    seed: int
    users: tuple[User, ...]

    def build(self, setups: Sequence[Setup]) -> tuple[Workload, tuple[float, ...]]:
        """Return the workload and its rates.

        Raises
        ------
        ValueError
            Flags contradict one another, the trace has a bad row, or an engine could never end a request.
        OSError
            The trace cannot be read.

        """
        if self.trace is not None and self.lengths is not None:
            raise ValueError("--trace and --lengths exclude each other: lengths come from one of them")
        if self.arrivals == REPLAYED and self.trace is None:
            raise ValueError("--arrivals trace needs --trace FILE, whose column arrived_at it replays")
        checks = [setup.check() for setup in setups]

        def check(lengths: Lengths) -> None:
            for refuse in checks:
                refuse(lengths)

        if self.trace is not None:
            return self._from_trace(self.trace, check)
        drawn = self.lengths or ShareGpt()
        check(drawn.longest)
        return self._workload(self._process(), drawn, self.requests), self.qps or (DEFAULT_QPS,)

    def _from_trace(self, path: Path, check: Callable[[Lengths], None]) -> tuple[Workload, tuple[float, ...]]:
        if self.arrivals != REPLAYED:
            rows = TraceLengths(read_trace(path, check=check).lengths)
            return self._workload(self._process(), rows, self.requests), self.qps or (DEFAULT_QPS,)
        trace = read_trace(path, check=check, arrivals=True)
        replay = Replay(trace.arrival_seconds)
        requests = min(self.requests, len(trace.lengths))
        return self._workload(replay, TraceLengths(trace.lengths, shuffled=False), requests), self.qps or (replay.qps,)

    def _process(self) -> Arrivals:
        return build("--arrivals", self.arrivals, ARRIVALS)

    def _workload(self, arrivals: Arrivals, lengths: LengthSource, requests: int) -> Workload:
        return Workload(arrivals, lengths, self.users, requests, self.seed)
