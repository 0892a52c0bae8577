"""What the kernel knows of processes: their children, memory, open files, and whose a connection is."""

import os
import re
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ESTABLISHED = "01"
_NOT_ACCEPTED = 0
"""Inode of a connection that the kernel has made and no process has taken yet."""


def descendants(pid: int) -> list[int]:
    """Return a process's children, their children and so on."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process, empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def exists(pid: int) -> bool:
    """Whether a process is still there."""
    return Path(f"/proc/{pid}").exists()


def stop(pid: int) -> None:
    """Stop a process, and wait until it stands: it ends what it does in the kernel before."""
    os.kill(pid, signal.SIGSTOP)
    while not _states(pid) <= {"T", "X", "Z"}:
        time.sleep(0.001)


def kill(pid: int) -> None:
    """Kill a process, and wait until everything that it had open is closed: that takes milliseconds, and is not waited
    for by those who send the signal.
    """
    os.kill(pid, signal.SIGKILL)
    while not _states(pid) <= {
        "Z"
    }:  # its list of files is empty before its sockets are closed: they accept clients until it is over
        time.sleep(0.001)


def _states(pid: int) -> set[str]:
    """Return the states of a process's threads as proc(5) names them; the first one may be dead while others close files."""
    states = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        if found is not None:
            return int(found[1]) * 1024
    return 0


def open_files(pids: Iterable[int], *, except_to: Collection[int]) -> int:
    """Return how many files and sockets processes have open, connections to some ports left out."""
    left_out = {connection.inode for connection in _connections() if connection.remote_port in except_to}
    return sum(_inode(file) not in left_out for pid in pids for file in _files(pid))


def ports_of_clients(pids: Iterable[int], port: int) -> set[int]:
    """Return the clients' ports of all connections to `port` that these processes hold, or that nobody has taken yet."""
    inodes = {_inode(file) for pid in pids for file in _files(pid)} | {_NOT_ACCEPTED}
    return {c.remote_port for c in _connections() if c.local_port == port and c.inode in inodes}


class _Connection(NamedTuple):
    local_port: int
    remote_port: int
    inode: int


def _connections() -> list[_Connection]:
    """Return all established TCP connections over IPv4, a line for each end that is on this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [_Connection(_port(row[1]), _port(row[2]), int(row[9])) for row in rows if row[3] == _ESTABLISHED]


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)


def _inode(file: str) -> int | None:
    found = re.fullmatch(r"socket:\[(\d+)\]", file)
    return int(found[1]) if found else None


def _files(pid: int) -> list[str]:
    """Return what the open files of a process are."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(link.readlink()))
    return found
