"""Write lines to a file descriptor without ever waiting for it.

Whoever reads the router's stdout may be slow, or stop reading: a pipe is full after 64 KB, and the next write waits.
So the lines wait in memory, up to a bound, and a thread of their own writes them; what comes beyond the bound is lost,
and counted. The thread gathers lines for a moment, so that it wakes a few times a second and not once a line, and does
nothing but write: work in it would hold up the event loop, which runs in the same interpreter.
"""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
GATHER_SECONDS: Final = 0.05


class LineWriter:
    """Lines on their way to a file descriptor; `write` belongs to one thread."""

    def __init__(self, descriptor: int, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._descriptor = descriptor
        self._max_waiting_bytes = max_waiting_bytes
        self._lines: deque[bytes] = deque()
        # Each number has one thread that changes it, so that none needs a lock.
        self._accepted_bytes = 0
        self._refused = 0
        self._done_bytes = 0
        self._failed = 0
        self._failing = False
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """Lines that were not written: too many waited, or writing failed."""
        return self._refused + self._failed

    def write(self, line: bytes) -> None:
        """Let a line be written, its end of line included; or lose it, if too many wait."""
        if self._accepted_bytes - self._done_bytes + len(line) > self._max_waiting_bytes:
            self._refused += 1
            return
        self._accepted_bytes += len(line)
        self._lines.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
            self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_seconds: float) -> None:
        """Write what waits, for as long as this; what is left then is lost."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        left_bytes = self._accepted_bytes - self._done_bytes
        if left_bytes:
            logger.warning("%d bytes of lines could not be written in %g s and are lost", left_bytes, timeout_seconds)

    def _run(self) -> None:
        while not self._closed.is_set() or self._lines:
            self._wake.wait()
            self._closed.wait(GATHER_SECONDS)
            self._wake.clear()  # before looking at the lines: a later one wakes again
            for lines in self._pieces():
                self._put(lines)

    def _pieces(self) -> Iterator[list[bytes]]:
        """Take what waits, in whole lines of together at most what a pipe takes at once.

        Processes that share a pipe would otherwise write into each other's lines.
        """
        piece: list[bytes] = []
        size = 0
        while self._lines:
            line = self._lines.popleft()
            if piece and size + len(line) > select.PIPE_BUF:
                yield piece
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            yield piece

    def _put(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            self._write_all(data)
        except OSError as error:
            self._failed += len(lines)
            if not self._failing:
                logger.error("lines are lost, writing them failed: %s", error)  # noqa: TRY400 - says all there is
            self._failing = True
        else:
            self._failing = False
        self._done_bytes += len(data)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody else made it so; this thread may wait
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
