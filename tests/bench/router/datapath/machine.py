"""The machine that is measured on: what it is, which core does what, and how busy each core was."""

import os
import platform
import re
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Columns of a cpu line in /proc/stat."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which cores the router, the pods and the load source run on."""

    router: frozenset[int]
    pods: frozenset[int]
    load: frozenset[int]

    @property
    def measuring(self) -> frozenset[int]:
        """Cores of pods and load source."""
        return self.pods | self.load

    @property
    def all(self) -> frozenset[int]:
        """Cores of everything."""
        return self.router | self.measuring


def place(cores: Sequence[int], *, router_cores: int = 1) -> Placement:
    """Give the router the first cores, and pods and load source those after it: one each, or one for both.

    Where the router takes all there are, pods and load source share the last one with it.

    Raises
    ------
    ValueError
        There are fewer than two cores.

    """
    if len(cores) < 2:
        raise ValueError(f"the benchmark needs two cores, one of them for the router alone, and has {len(cores)}")
    rest = cores[router_cores:] or cores[-1:]
    return Placement(frozenset(cores[:router_cores]), frozenset(rest[:1]), frozenset(rest[1:2] or rest[:1]))


def available_cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside inherits these cores and no others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds that cores were busy with anything, and that the hypervisor gave to others."""

    busy_seconds: float
    stolen_seconds: float


def core_times(cores: frozenset[int]) -> CoreTimes:
    """Return what the kernel has counted for these cores together since the machine started."""
    busy = stolen = 0
    for line in Path("/proc/stat").read_text().splitlines():
        if (found := re.match(r"cpu(\d+) ", line)) and int(found[1]) in cores:
            ticks = [int(field) for field in line.split()[1:9]]
            stolen += ticks[_STEAL]
            busy += sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL]
    return CoreTimes(busy / _TICKS_PER_SECOND, stolen / _TICKS_PER_SECOND)


def busy_share(cores: Sequence[int], seconds: float = 1.0) -> float:
    """Return how busy cores are now, of what they all could do, watched for so many seconds."""
    watched = frozenset(cores)
    before = core_times(watched)
    time.sleep(seconds)
    return (core_times(watched).busy_seconds - before.busy_seconds) / seconds / len(watched)


def wait_until_quiet(cores: Sequence[int], share: float, seconds: float) -> None:
    """Wait until cores are less busy than a share, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while busy_share(cores) > share and time.monotonic() < deadline:
        pass


def raise_open_files() -> int:
    """Allow this process and those that it starts as many open files as the system lets it; return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def describe(cores: int) -> dict[str, str | int]:
    """Return what a reader must know about the machine, of which so many cores could be used."""
    processor = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", processor, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "cores": cores,
        "virtual": "yes" if re.search(r"^flags\s*:.*\bhypervisor\b", processor, re.MULTILINE) else "no",
        "memory_gib": round(int(memory[1]) / 2**20) if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
