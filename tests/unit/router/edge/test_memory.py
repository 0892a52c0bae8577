"""Connections leave nothing behind that only the garbage collector finds: it looks rarely, and they are many."""

import asyncio
import gc

import pytest

from fairlead_router.edge.protocol import EdgeProtocol
from fairlead_router.edge.reading import Reading
from fairlead_router.edge.response import Response
from fairlead_router.http1.answers import AnswerParser
from fairlead_router.http1.requests import RequestParser
from fairlead_router.relay.exchange import Exchange
from fairlead_router.upstream.connection import EngineConnection

OF_CONNECTIONS = (EdgeProtocol, Reading, RequestParser, Response, Exchange, EngineConnection, AnswerParser)
BODY = b'{"model": "mock", "stream": true}'
ASK = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
BAD = b"POST /v1/completions\r\n\r\n"


def left() -> list[str]:
    return sorted(type(found).__name__ for found in gc.get_objects() if type(found) in OF_CONNECTIONS)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def connect(running):
    host, port = running.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, port)


@pytest.mark.parametrize(
    ("request_bytes", "last_heard"),
    [(b"", b""), (ASK[:10], b""), (ASK, b"[DONE]"), (ASK + ASK, b"[DONE]"), (BAD, b"}")],
    ids=["nothing", "part of a head", "a stream to its end", "a pipeline", "no HTTP"],
)
async def test_a_client_that_goes_leaves_nothing(router, engine, kit, no_collector, request_bytes, last_heard):
    running = await router([await engine(kit.answers_then_closes(*streamed(kit, kit.token("a", "stop"), kit.DONE)))])
    reader, writer = await connect(running)
    writer.write(request_bytes)
    if last_heard:
        await reader.readuntil(last_heard)
    writer.close()
    await writer.wait_closed()
    await kit.until(lambda: not left(), "nothing is left")


async def ask_and_hang_up(running, kit, last_heard):
    reader, writer = await connect(running)
    writer.write(ASK)
    await reader.readuntil(last_heard)
    writer.transport.abort()
    await kit.until(lambda: not left(), "nothing is left")


async def test_a_client_that_hangs_up_inside_a_stream_leaves_nothing(router, engine, kit, no_collector):
    running = await router([await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))])
    await ask_and_hang_up(running, kit, b"\n\n")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 999 ?\r\n\r\n", b"garbage", b""])
async def test_an_engine_that_is_lost_leaves_nothing(router, engine, kit, no_collector, answer):
    running = await router([await engine(kit.answers_then_closes(answer))])
    await ask_and_hang_up(running, kit, b"\r\n\r\n")


async def test_an_engine_that_is_lost_inside_its_stream_leaves_nothing(router, engine, kit, no_collector):
    running = await router([await engine(kit.answers_then_closes(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))])
    await ask_and_hang_up(running, kit, b"engine_disconnected")


def streamed(kit, *events):
    return kit.STREAM_HEAD, *map(kit.chunk, events), kit.LAST_CHUNK
