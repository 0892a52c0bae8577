"""The measuring side: mock pods and load source, small C programs that are built on first use.

They are C so that they take next to nothing: what `direct` shows is their own ceiling on the core that they share.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapath.machine import pinned

SOURCES = Path(__file__).parents[1] / "native"
PROGRAMS = ("pods", "load")


class NoCompilerError(Exception):
    """There is nothing to build the measuring side with."""


class MeasuringError(Exception):
    """The measuring side itself failed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of the measuring side."""

    pods: Path
    load: Path


def build(folder: Path) -> Tools:
    """Compile what is missing or older than its source.

    Raises
    ------
    NoCompilerError
        There is no C compiler; the message says how to get one.

    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError(
            "pods and load source are C: install a compiler, on Debian: apt-get install gcc libc6-dev"
        )
    folder.mkdir(parents=True, exist_ok=True)
    changed = max(path.stat().st_mtime for path in SOURCES.iterdir())
    for name in PROGRAMS:
        program = folder / name
        if not program.exists() or program.stat().st_mtime < changed:
            flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run([compiler, *flags, "-o", program, SOURCES / f"{name}.c"], check=True)
    return Tools(*(folder / name for name in PROGRAMS))


@dataclass(frozen=True, slots=True)
class PodStats:
    """What the pods did since they were last asked."""

    open_streams: int
    tokens: int
    requests: tuple[int, ...]
    """By pod."""
    late_p99_ms: float | None
    """How late tokens left, against their schedule: large where the measuring side had too little of its core."""


class Pods:
    """Mock engines on ports of this machine, all in one process."""

    def __init__(self, program: Path, count: int, cores: frozenset[int]) -> None:
        with pinned(cores):
            self._process = subprocess.Popen(
                [program, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self.pid = self._process.pid
        self.ports: tuple[int, ...] = tuple(self._answer()["ports"])

    def pace(self, tokens_per_second: float, *, bursts: bool = False) -> None:
        """Set how fast streams that begin from now on get their tokens, and whether all of a pod at the same moments."""
        self._say(f"pace {tokens_per_second:.6f} {'bursts' if bursts else 'spread'}")

    def stats(self) -> PodStats:
        """Return what was done since the last time, and begin anew."""
        self._say("stats")
        answer = self._answer()
        return PodStats(answer["open_streams"], answer["tokens"], tuple(answer["requests"]), answer["late_ms"]["p99"])

    def stop(self) -> None:
        """End the process."""
        with self._process:
            self._process.terminate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        return _line(self._process)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What the load source does; times in seconds."""

    request: Path
    connections: int
    seconds: float
    warmup_seconds: float
    ramp_seconds: float = 0.0
    tokens: int = 0
    """Of each stream; 0 is: whole answers."""

    def arguments(self) -> list[str]:
        """Return the command line of the load source, but for its ports."""
        flags = {
            "request": self.request,
            "connections": self.connections,
            "tokens": self.tokens,
            "ramp": self.ramp_seconds,
            "warmup": self.warmup_seconds,
            "seconds": self.seconds,
        }
        return [part for name, value in flags.items() for part in (f"--{name}", str(value))]


class Load:
    """A running load source."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait for its next event, which must be this one, and return what it says."""
        line = _line(self._process)
        if line["event"] != event:
            raise MeasuringError(f"the load source said {line}, not {event!r}")
        return line


@contextmanager
def load(program: Path, plan: LoadPlan, ports: Sequence[int], cores: frozenset[int]) -> Iterator[Load]:
    """Run the load source; it stops, streams and all, when the block ends."""
    with pinned(cores):
        process = subprocess.Popen(
            [program, *plan.arguments(), *map(str, ports)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        try:
            yield Load(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise MeasuringError(f"{process.args!r} ended with exit code {process.wait()}")
    parsed: dict[str, Any] = json.loads(line)
    return parsed
