"""Clients of the router: kept-alive connections, one request at a time on each, every byte of the answer kept."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools
import orjson

from soak.answers import Outcome, error_code, judge_stream, judge_whole

IDLE_SECONDS = 20.0
"""A connection that was idle for longer is not used again: the router closes it some time, perhaps just now."""


@dataclass(slots=True)
class Record:
    """One request and what came of it; times are of the event loop's clock, in seconds."""

    request_id: str
    streamed: bool
    tokens: int
    sent_at: float = 0.0
    port: int = 0
    """Of the client's side of the connection, by which its worker is known; 0 where there never was one."""
    connected_at: float = 0.0
    """Where there never was a connection: when it was asked for."""
    began: bool = False
    """A byte of the body has arrived."""
    outcome: Outcome | None = None
    """None while it runs."""
    code: str = ""
    """Reason in an error event or an error body."""
    endpoint: str = ""
    ended_at: float = 0.0


class Connection(asyncio.Protocol):
    """One connection; `ended` is called with it when its request has ended, and `closed` when it is gone."""

    def __init__(self, ended: Callable[["Connection"], None], closed: Callable[["Connection"], None]) -> None:
        self._ended = ended
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._body: list[bytes] = []
        self.record: Record | None = None
        """The request that runs, or ran last."""
        self.idle_since = 0.0
        self.usable = True

    def send(self, record: Record, head: bytes, body: bytes) -> None:
        """Send a request."""
        self.record = record
        record.sent_at = self._loop.time()
        record.port = self._transport.get_extra_info("sockname")[1]
        if (
            not record.connected_at
        ):  # else it was made for this request, and may have been there before anybody was told
            record.connected_at = self.connected_at
        self._body.clear()
        self._transport.write(head + body)

    def hang_up(self, record: Record) -> None:
        """Close the connection if this request still runs on it."""
        if self.record is record and record.outcome is None:
            self.usable = False
            self._end(Outcome.HUNG_UP)
            self._transport.abort()

    def close(self) -> None:
        """Close."""
        self.usable = False
        self._transport.close()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # as TCP is; uvloop's is none by its class
        self.connected_at = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self.record is not None and self.record.outcome is None:
            self._end(Outcome.BROKEN)
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._content_type = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"x-fairlead-endpoint" and self.record is not None:
            self.record.endpoint = value.decode()
        elif name == b"content-type":
            self._content_type = value

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        if self.record is not None:
            self.record.began = True

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.usable = False
        record = self.record
        if record is None or record.outcome is not None:
            raise AssertionError("an answer that nobody asked for")
        body = b"".join(self._body)
        if self._parser.get_status_code() != 200:
            self._end(Outcome.REFUSED, error_code(body))
        elif record.streamed:
            self._end(*judge_stream(body, record.request_id, record.tokens))
        else:
            self._end(judge_whole(body, record.request_id, record.tokens))

    def _end(self, outcome: Outcome, code: str = "") -> None:
        record = self.record
        assert record is not None
        record.outcome, record.code = outcome, code
        record.ended_at = self.idle_since = self._loop.time()
        self._ended(self)


class Client:
    """Sends requests to one router, on connections of which there are as many as requests at one time."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self.running = 0

    async def send(self, record: Record, service_class: str, hang_up_after: float | None = None) -> None:
        """Send a request, and return; its record says how it goes on."""
        self.running += 1
        connection = self._take() or await self._connect(record)
        if connection is None:
            self.running -= 1
            return
        body = orjson.dumps(
            {
                "model": "soak",
                "stream": record.streamed,
                "max_tokens": record.tokens,
                "messages": [{"role": "user", "content": "How long is a soak?"}],
            }
        )
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: soak\r\nx-request-id: {record.request_id}\r\n"
            f"authorization: Bearer {self._key}\r\nx-slo-class: {service_class}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        connection.send(record, head.encode(), body)
        if hang_up_after is not None:
            self._loop.call_later(hang_up_after, connection.hang_up, record)

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.close()
        self._idle.clear()

    def _take(self) -> Connection | None:
        oldest = self._loop.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self, record: Record) -> Connection | None:
        record.sent_at = record.connected_at = self._loop.time()
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._request_ended, self.connections.discard), "127.0.0.1", self._port
            )
        except OSError:
            record.outcome, record.ended_at = Outcome.BROKEN, self._loop.time()
            return None
        self.connections.add(connection)
        return connection

    def _request_ended(self, connection: Connection) -> None:
        self.running -= 1
        if connection.usable:
            self._idle.append(connection)
