"""An engine that gives the answers of `answers` at an even pace, and notes which of them it has sent to the end.

An id is noted when the last byte of its answer has gone to the kernel: from then on not even SIGKILL can take it back,
and whoever is connected will read it. Whether the answer arrives at the client is then the router's to see to.

    python -m soak.engine --port PORT --notes FILE
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import httptools
import orjson
import uvloop

from soak.answers import stream_events, whole_body

TOKEN_SECONDS = 0.03
"""Between two tokens of a stream."""
_FLUSH_SECONDS = 0.002
"""uvloop writes at the end of a turn of its loop; a router that reads slowly makes it take longer."""
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Notes:
    """Ids of answers that were sent to the end, in a file that outlives the process; a line each."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def finished(self, request_id: str) -> None:
        """Note an answer."""
        os.write(self._file, request_id.encode() + b"\n")


class Connection(asyncio.Protocol):
    """One connection: requests in turn."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._request_id = ""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # as TCP is; uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._body = b""
        self._request_id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._request_id = value.decode()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._transport.write(_whole(b'{"status":"ok"}'))
            return
        asked = orjson.loads(self._body)
        if asked["stream"]:
            self._transport.write(_STREAM_HEAD)
            self._stream(iter(stream_events(self._request_id, asked["max_tokens"])))
        else:
            body = _whole(whole_body(self._request_id, asked["max_tokens"]))
            self._timer = self._loop.call_later(asked["max_tokens"] * TOKEN_SECONDS, self._end, body)

    # The answer.

    def _stream(self, events: Iterator[bytes]) -> None:
        event = next(events)
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        if event.endswith(b"[DONE]\n\n"):
            self._end(chunk + _LAST_CHUNK)
            return
        self._transport.write(chunk)
        self._timer = self._loop.call_later(TOKEN_SECONDS, self._stream, events)

    def _end(self, rest: bytes) -> None:
        self._timer = None
        self._transport.write(rest)
        self._note_when_sent(self._request_id)

    def _note_when_sent(self, request_id: str) -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():
            self._loop.call_later(_FLUSH_SECONDS, self._note_when_sent, request_id)
        else:
            self._notes.finished(request_id)


async def _serve(port: int, notes: Notes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(notes), "127.0.0.1", port)
    await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--notes", type=click.Path(dir_okay=False, path_type=Path), required=True)
def main(port: int, notes: Path) -> None:
    """Serve until killed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(port, Notes(notes)))


if __name__ == "__main__":
    main()
