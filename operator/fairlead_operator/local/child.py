"""One child process: its log file, its life and its end."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAST_LINES_BYTES = 4096


class ProgramMissingError(Exception):
    """The program to run is not installed; the message says which and how to get it."""


def program(name: str) -> str:
    """Find a program beside this Python, else on PATH.

    Raises
    ------
    ProgramMissingError
        It is in neither place.

    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if found is None:
        raise ProgramMissingError(f"{name} is not installed here: it is neither in {beside} nor on PATH")
    return found


@dataclass(slots=True, kw_only=True)
class Child:
    """A process that runs a component of the pool."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    port: int
    revision: str = ""
    ready: bool = False
    draining_since_seconds: float | None = None
    """When the router was told to send it nothing new."""
    stopping: bool = False
    """It was told to end."""
    started_seconds: float = field(default_factory=time.time)

    @classmethod
    async def start(cls, name: str, command: Sequence[str], *, log: Path, port: int, revision: str = "") -> "Child":
        """Start a process whose output goes to `log`, out of reach of the terminal's Ctrl-C.

        Raises
        ------
        ProgramMissingError
            The command's program is not installed.

        """
        executable = program(command[0])
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                executable,
                *command[1:],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(name=name, process=process, log=log, port=port, revision=revision)

    @property
    def uid(self) -> str:
        """Identity: a restarted process is another one."""
        return f"{self.name}-{self.process.pid}"

    @property
    def leaving(self) -> bool:
        """Tell whether it is to go."""
        return self.stopping or self.draining_since_seconds is not None

    @property
    def alive(self) -> bool:
        """Tell whether it runs."""
        return self.process.returncode is None

    @property
    def last_line(self) -> str:
        """Give the last line that it wrote."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_LINES_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def terminate(self) -> None:
        """Ask it to finish what it does and to end."""
        self.stopping = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it started, now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


async def stop_all(children: Sequence[Child], grace_seconds: float) -> None:
    """End every child: SIGTERM first, SIGKILL for those that are still there after the grace."""
    for child in children:
        child.terminate()
    ends = [asyncio.create_task(child.process.wait()) for child in children]
    try:
        if ends:
            await asyncio.wait(ends, timeout=grace_seconds)
    finally:
        for child in children:
            child.kill()
        await asyncio.gather(*ends, return_exceptions=True)
