"""A child process that is started again when it dies, and the link to it."""

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from fairlead_router.workers.link import Link, Message

logger = logging.getLogger(__name__)

_RESTART_SECONDS: Final = (0.1, 10.0)
"""Before a child is started again: at first, and at most."""
_SETTLED_SECONDS: Final = 30.0
"""A child that has run for so long has not died because it was just started."""


class NeverReadyError(Exception):
    """A child died before it had ever been ready: starting it again would not help."""


class Child:
    """One place among the children; processes come and go in it."""

    def __init__(self, name: str, module: str, settings: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Run `python -m module`, which gets the settings and its end of the link (`control`), as JSON."""
        self.name = name
        self.link: Link | None = None
        """To the process that runs now."""
        self.ready = False
        """Whether that process serves, as it says itself."""
        self.deaths = 0
        self._module = module
        self._settings = settings
        self._descriptors = tuple(descriptors)
        self._process: asyncio.subprocess.Process | None = None
        self._was_ready = False
        self._stopping = asyncio.Event()

    def send(self, message: Message) -> None:
        """Send to the process that runs now, if there is one."""
        if self.link is not None:
            self.link.send(message)

    def becomes_ready(self) -> None:
        """Note that it serves."""
        self.ready = self._was_ready = True

    async def run(
        self,
        started: Callable[["Child"], None],
        receive: Callable[["Child", Message], None],
        died: Callable[["Child"], None],
    ) -> None:
        """Keep a process running until `end`; the callbacks are told of its life.

        Raises
        ------
        NeverReadyError
            The first process died before it was ready.

        """
        loop = asyncio.get_running_loop()
        first_pause, longest_pause = _RESTART_SECONDS
        pause = first_pause
        while not self._stopping.is_set():
            begun = loop.time()
            await self._start(receive)
            started(self)
            status = await self._wait()
            died(self)
            if self._stopping.is_set():
                return
            if not self._was_ready:
                raise NeverReadyError(f"{self.name} ended with status {status} before it was ready")
            self.deaths += 1
            pause = first_pause if loop.time() - begun > _SETTLED_SECONDS else pause
            logger.error("%s has died (status %d); starting another in %g s", self.name, status, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest_pause)

    async def end(self, seconds: float) -> None:
        """Start no other; kill the process if it has not ended within `seconds`."""
        self._stopping.set()
        if self._process is None:
            return
        ending = asyncio.ensure_future(self._process.wait())
        await asyncio.wait([ending], timeout=seconds)
        if not ending.done():
            logger.error("%s has not ended within %g s: killing it", self.name, seconds)
            self.kill()
        await ending

    def kill(self) -> None:
        """Kill the process that runs now."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self, receive: Callable[["Child", Message], None]) -> None:
        ours, theirs = socket.socketpair()
        settings = orjson.dumps({**self._settings, "control": theirs.fileno()}).decode()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", self._module, settings,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._descriptors),
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor, which tells its children
            )  # fmt: skip
        self.link = await Link.open(ours, lambda message: receive(self, message), lambda: None)

    async def _wait(self) -> int:
        if self._process is None:
            raise AssertionError("waits for a process that was not started")
        try:
            return await self._process.wait()
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self.ready = False
            if self.link is not None:
                self.link.abort()
                self.link = None
