"""What a connection does at its ends, for clients that speak TLS."""

import asyncio
import contextlib
import ssl

import pytest
import trustme
from wire import get, post

from fairlead_router.config import Limits, RouterConfig

WHOLE = b'{"id": "1"}'
STREAMED = post("/v1/chat/completions", b'{"model": "m", "stream": true}')


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def connect(authority):
    """Open a connection to a router."""
    context = ssl.create_default_context()
    authority.configure_trust(context)

    @contextlib.asynccontextmanager
    async def connect(running):
        port = int(running.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=1 << 16
        )
        yield reader, writer
        writer.transport.abort()

    return connect


async def test_requests_of_all_kinds_are_answered_on_one_connection(engine, router, kit, server_tls, connect):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))], tls=server_tls)
    async with connect(running) as (reader, writer):
        for _ in range(3):
            writer.write(get() + post("/v1/chat/completions") + get("/nothing"))
            assert await reader.readuntil(b'"ok"}')
            assert await reader.readuntil(WHOLE)
            assert await reader.readuntil(b'"param":null}}')


async def test_a_client_that_is_refused_while_it_sends_gets_to_read_why(router, server_tls, connect):
    running = await router(config=RouterConfig(limits=Limits(body_bytes=1024)), tls=server_tls)
    async with connect(running) as (reader, writer):
        writer.write(post("/v1/completions", b"x" * 3_000_000))
        assert b" 413 " in await reader.readline()
        assert b"request_too_large" in await reader.read()


@pytest.mark.parametrize("ahead", [b"", get()], ids=["one request", "another sent ahead"])
async def test_a_client_that_hangs_up_aborts_its_request(engine, router, kit, server_tls, connect, ahead):
    scripted = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([scripted], tls=server_tls)
    async with connect(running) as (reader, writer):
        writer.write(STREAMED + ahead)
        await reader.readuntil(b"data: ")
    await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
    await kit.until(lambda: not running.data_path.edge.connections, "the connection is gone")
    assert running.in_flight == 0


async def test_a_client_that_reads_nothing_holds_its_engine_back(engine, router, kit, server_tls, connect):
    sent = 0

    async def torrent(connection):
        nonlocal sent
        await connection.send(kit.STREAM_HEAD)
        while True:
            await connection.send(kit.chunk(kit.token("x" * 64 * 1024)))
            sent += 1

    running = await router([await engine(torrent)], RouterConfig(limits=Limits(send_timeout="300ms")), tls=server_tls)
    async with connect(running) as (reader, writer):
        writer.write(STREAMED)
        await reader.readuntil(b"data: ")
        writer.transport.pause_reading()
        await kit.until(lambda: running.ended("client_disconnected") == 1, "it is let go after a while")
    assert sent < 500
    assert running.in_flight == 0


async def test_a_broken_answer_breaks_the_connection(engine, router, kit, server_tls, connect):
    head = kit.head("200 OK", "content-type: application/json", "content-length: 100")
    running = await router([await engine(kit.answers_then_closes(head + b"{}"))], tls=server_tls)
    async with connect(running) as (reader, writer):
        writer.write(post("/v1/completions"))
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).endswith(b"}" * 50)
    await kit.until(lambda: not running.data_path.edge.connections, "the connection is gone")
    assert running.ended("engine_disconnected") == 1
