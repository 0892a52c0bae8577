"""Processes under measurement: started on given cores, with what they and their children take, and stopped for good."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datapath.machine import pinned

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _SYSTEM = 3, 11, 12
"""Fields of /proc/PID/stat after the command's name."""
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of all processes of a router, in MB of a million bytes; shared pages count once in PSS, and in RSS each time."""

    rss_mb: float
    pss_mb: float


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the command's name; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, user and system; 0 where it is gone."""
    fields = _stat(pid)
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_SECOND if fields else 0.0


class Group:
    """A process in a session of its own, with everything that it starts."""

    def __init__(self, command: Sequence[str], cores: frozenset[int], log: Path) -> None:
        self.log = log
        with log.open("wb") as output, pinned(cores):
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def runs(self) -> bool:
        """Whether the first process is still there."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """Return every process of the session."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        session = str(self._process.pid)
        return [pid for pid in pids if (fields := _stat(pid)) and fields[_SESSION] == session]

    def cpu_seconds(self) -> float:
        """Return the processor time that all of them have taken."""
        return sum(map(cpu_seconds, self.pids()))

    def memory(self) -> Memory:
        """Return the memory that all of them hold."""
        kilobytes = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            with suppress(FileNotFoundError, ProcessLookupError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _, rest = line.partition(":")
                    if name in kilobytes:
                        kilobytes[name] += int(rest.split()[0])
        return Memory(kilobytes["Rss"] * 1024 / 1e6, kilobytes["Pss"] * 1024 / 1e6)

    def last_words(self) -> str:
        """Return the last line that it printed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it printed nothing"

    def stop(self) -> None:
        """Ask it to end, and see that all of it does."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
