"""What relaying costs in Python: a whole answer, and a token of a stream, without sockets.

    .venv/bin/python tests/bench/relay_cost.py                              about 10 seconds

Transports that drop what is written stand for clients and engines, so that nothing of the kernel's work is counted.
Tokens come to 500 streams in turn, as they do in life: what one stream needs is out of the cache when its next comes.
A measurement, not a test that gates.
"""

import asyncio
import time
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

import click
import uvloop

from fairlead_router.config import RouterConfig
from fairlead_router.contract import EndpointState
from fairlead_router.data_path import DataPath
from fairlead_router.decisions.types import EndpointView
from fairlead_router.edge.protocol import EdgeProtocol
from fairlead_router.garbage import settle
from fairlead_router.router import Router
from fairlead_router.upstream.connection import EngineConnection

ROUNDS = 7
STREAMS = 500
BODY = b'{"model":"m","stream":%b,"messages":[{"role":"user","content":"' + b"word " * 200 + b'"}]}'
WHOLE = b'{"id":"1","choices":[{"message":{"content":"four"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
TOKEN = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"%b"},"logprobs":null,"finish_reason":null}]}\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


class Dropping(asyncio.Transport):
    """A transport that drops what it is given."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def get_write_buffer_size(self) -> int:
        """Hold nothing."""
        return 0

    def abort(self) -> None:
        """Stay."""


def request(streamed: bool) -> bytes:
    """Return a request of a kilobyte, as httpx writes it."""
    body = BODY % (b"true" if streamed else b"false")
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: router:8000\r\naccept: */*\r\naccept-encoding: gzip, deflate\r\n"
        b"connection: keep-alive\r\nuser-agent: OpenAI/Python\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def chunk(event: bytes) -> bytes:
    """Frame an event."""
    return b"%x\r\n%b\r\n" % (len(event), event)


class Clients:
    """Clients and engines of one data path."""

    def __init__(self, path: DataPath) -> None:
        self._path = path
        self.engines: list[EngineConnection] = []

    def connect(self) -> EdgeProtocol:
        """Return the connection of a new client."""
        client = EdgeProtocol(self._path.edge)
        client.connection_made(Dropping())
        return client

    def engine(self, address: str) -> EngineConnection:
        """Keep an idle connection to an engine ready."""
        connection = EngineConnection(address, self)
        connection.connection_made(Dropping())
        self._path.pool.released(connection)
        return connection

    def released(self, connection: EngineConnection) -> None:
        """Take a connection back whose answer has ended."""
        self._path.pool.released(connection)

    def lost(self, connection: EngineConnection) -> None:
        """Lose nothing."""


def microseconds(work: Callable[[], Any], times: int) -> float:
    """Time one of `times`, which the work does."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / times * 1e6


def whole_answers(clients: Clients, number: int = 5000) -> float:
    """Relay whole answers one after another over one connection on either side."""
    client, engine = clients.connect(), clients.engine("engine:1")
    asked = request(streamed=False)
    answer = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b" % (
        len(WHOLE),
        WHOLE,
    )

    def work() -> None:
        for _ in range(number):
            client.data_received(asked)
            engine.data_received(answer)

    return microseconds(work, number)


def tokens(clients: Clients, number: int = 40) -> float:
    """Relay tokens to streams in turn."""
    engines = []
    for _ in range(STREAMS):
        engines.append(clients.engine("engine:1"))
        clients.connect().data_received(request(streamed=True))
        engines[-1].data_received(STREAM_HEAD + chunk(TOKEN % b"A"))
    read = chunk(TOKEN % b" word")

    def work() -> None:
        for _ in range(number):
            for engine in engines:
                engine.data_received(read)

    taken = microseconds(work, number * STREAMS)
    for engine in engines:
        engine.data_received(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    return taken


async def measure() -> dict[str, list[float]]:
    """Measure in rounds."""
    config = RouterConfig.model_validate({"pool": "bench", "models": ["m"], "policy": "round-robin"})
    router = Router(config)
    router.set_endpoints([EndpointView("1", "engine:1", EndpointState.READY, "engine-1")])
    figures: dict[str, list[float]] = {"a whole answer": [], "a token of a stream": []}
    async with DataPath(router, random=Random(1)) as path:
        clients = Clients(path)
        settle()
        for _ in range(ROUNDS):
            figures["a whole answer"].append(whole_answers(clients))
            figures["a token of a stream"].append(tokens(clients))
            await asyncio.sleep(0)
    return figures


@click.command(help=__doc__)
def main() -> None:
    """Print the figures."""
    for what, figures in uvloop.run(measure()).items():
        click.echo(f"{what:<24}{median(figures):8.2f} us  ({min(figures):.2f} to {max(figures):.2f})")


if __name__ == "__main__":
    main()
