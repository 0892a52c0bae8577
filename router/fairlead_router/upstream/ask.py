"""Ask an engine something small and wait for the whole answer: for probes and lists, not for users' requests."""

import asyncio
from dataclasses import dataclass

from fairlead_router.http1.answers import AnswerHead
from fairlead_router.upstream.connection import EngineConnection
from fairlead_router.upstream.errors import ConnectError, LostError, UpstreamError
from fairlead_router.upstream.pool import Pool

MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A whole answer."""

    status: int
    body: bytes


async def ask(pool: Pool, address: str, path: str, *, seconds: float) -> Asked:
    """`GET` a path of the engine at `host:port`, on a new connection, which is then the next request's.

    Raises
    ------
    ConnectError
        No connection within `seconds`.
    UpstreamError
        No whole answer.
    TimeoutError
        No whole answer within `seconds`.

    """
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[EngineConnection | ConnectError] = loop.create_future()
    connecting = pool.connect(address, seconds, connected.set_result)
    try:
        connection = await connected
    finally:
        connecting.forget()
    if isinstance(connection, ConnectError):
        raise connection
    receiver = _Collector(loop.create_future())
    connection.carry(f"GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode(), receiver)
    try:
        async with asyncio.timeout(seconds):
            return await receiver.result
    finally:
        if receiver.carried:  # otherwise the connection may be another request's by now
            connection.abandon()


class _Collector:
    """Puts an answer together."""

    def __init__(self, result: "asyncio.Future[Asked]") -> None:
        self.result = result
        self.carried = True
        """Whether the connection still carries this answer."""
        self._status = 0
        self._body = bytearray()

    def answer_head(self, head: AnswerHead) -> None:
        self._status = head.status

    def answer_chunk(self, _read: bytes) -> bool:
        return False

    def answer_data(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER_BYTES:
            self._fail(LostError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes"))

    def answer_end(self) -> None:
        self.carried = False
        if not self.result.done():
            self.result.set_result(Asked(self._status, bytes(self._body)))

    def answer_lost(self, error: UpstreamError) -> None:
        self.carried = False
        self._fail(error)

    def answer_fault(self) -> None:
        self._fail(LostError("the answer cannot be put together"))

    def pause_sending(self) -> None:
        """Nothing more is sent."""

    def resume_sending(self) -> None:
        """Nothing more is sent."""

    def _fail(self, error: UpstreamError) -> None:
        if not self.result.done():
            self.result.set_exception(error)
