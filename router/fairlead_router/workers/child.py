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

from fairlead_router.workers.control import Tell
from fairlead_router.workers.link import Link, Message

logger = logging.getLogger(__name__)

_RESTART_SECONDS: Final = (0.1, 10.0)
"""Before a child is started again: at first, and at most."""
_SETTLED_SECONDS: Final = 30.0
"""A child that has run for so long has not died because it was just started."""


class Child:
    """One place among the children; processes come and go in it."""

    def __init__(self, name: str, module: str, settings: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Run `python -m module`, which gets the settings and its end of the link (`control`), as JSON."""
        self.name = name
        self.link: Link | None = None
        """To the process that runs now."""
        self.ready = False
        """Whether that process serves, as it says itself."""
        self.was_ready = False
        """Whether any process did."""
        self.deaths = 0
        self._module = module
        self._settings = settings
        self._descriptors = tuple(descriptors)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now, or has run last."""
        return None if self._process is None else self._process.pid

    def send(self, message: Message) -> None:
        """Send to the process that runs now, if there is one."""
        if self.link is not None:
            self.link.send(message)

    def becomes_ready(self) -> None:
        """Note that it serves."""
        self.ready = self.was_ready = True

    async def run(
        self,
        started: Callable[["Child"], None],
        receive: Callable[["Child", Message], None],
        died: Callable[["Child"], None],
    ) -> None:
        """Keep a process running until `stop`, and until it has ended then; the callbacks are told of its life.

        If the very first one dies before it was ready, there is no second: it would fare no better.
        """
        loop = asyncio.get_running_loop()
        first_pause, longest_pause = _RESTART_SECONDS
        pause = first_pause
        while not self._stopping.is_set():
            begun = loop.time()
            await self._start(receive)
            started(self)
            if self._stopping.is_set():
                self.send((Tell.STOP.value,))
            status = await self._wait()
            died(self)
            if self._stopping.is_set() or not self.was_ready:
                return
            self.deaths += 1
            pause = first_pause if loop.time() - begun > _SETTLED_SECONDS else pause
            logger.error("%s has died (status %d); starting another in %g s", self.name, status, pause)
            await self._sleep(pause)
            pause = min(2 * pause, longest_pause)

    def stop(self) -> None:
        """Let the process end, and start no other."""
        self._stopping.set()
        self.send((Tell.STOP.value,))

    def kill(self) -> None:
        """Kill the process that runs now."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _start(self, receive: Callable[["Child", Message], None]) -> None:
        ours, theirs = socket.socketpair()
        settings = orjson.dumps({**self._settings, "control": theirs.fileno()}).decode()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", self._module, settings,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._descriptors),
            )  # fmt: skip
        self.link = Link(lambda message: receive(self, message), lambda: None)
        await self.link.attach(ours)

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
