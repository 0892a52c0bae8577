"""What the kernel knows of processes: their children, memory, open files, and whose a connection is."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ESTABLISHED = "01"
_NOT_ACCEPTED = "0"
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


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        if found is not None:
            return int(found[1]) * 1024
    return 0


def open_files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(_files(pid))


def ports_of_clients(pids: Iterable[int], port: int) -> set[int]:
    """Return the clients' ports of all connections to `port` that these processes hold, or that nobody has taken yet."""
    inodes = {found[1] for pid in pids for file in _files(pid) if (found := re.fullmatch(r"socket:\[(\d+)\]", file))}
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.partition(":")[2], 16) for address in fields[1:3])
        if local == port and fields[3] == _ESTABLISHED and fields[9] in {*inodes, _NOT_ACCEPTED}:
            ports.add(remote)
    return ports


def _files(pid: int) -> list[str]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(link.readlink()))
    return found
