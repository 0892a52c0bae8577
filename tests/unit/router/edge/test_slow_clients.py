"""Clients that send or take bytes slowly, or never: bounded memory, bounded time, and the engine is held back."""

import asyncio
import contextlib
import json

import pytest
from wire import Client, get, post

from fairlead_router.config import Limits, RouterConfig, Timeouts

CHAT = post("/v1/chat/completions", b'{"model": "m", "stream": true}')
UPLOAD = "/v1/audio/transcriptions"
SMALL_BUFFER = 4096


@pytest.fixture
def torrent(kit):
    """A script that streams as fast as it may, 64 MiB unless told otherwise, and counts what it got rid of."""

    async def script(connection):
        await connection.send(kit.STREAM_HEAD)
        piece = kit.chunk(kit.token("x" * 64 * 1024))
        for _ in range(script.pieces):
            await connection.send(piece)
            script.sent += len(piece)
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    script.sent, script.pieces = 0, 1024
    return script


async def only_connection(running, kit):
    await kit.until(lambda: len(running.data_path.edge.connections) == 1, "one client is connected")
    (connection,) = running.data_path.edge.connections
    return connection


async def test_a_client_that_reads_byte_by_byte_holds_its_engine_back_and_not_the_router(engine, router, kit, torrent):
    scripted = await engine(torrent)
    running = await router([scripted])
    async with Client.connected(running.url, receive_buffer=SMALL_BUFFER) as client:
        await client.send(CHAT)
        connection = await only_connection(running, kit)
        await kit.until(lambda: connection.transport.get_write_buffer_size() > 0, "bytes wait for the client")
        for _ in range(200):
            assert len(await client.read(1)) == 1
            assert connection.transport.get_write_buffer_size() < 1024 * 1024
            await asyncio.sleep(0)
        assert torrent.sent < 32 * 1024 * 1024, "the rest is still with the engine"
        assert running.in_flight == 1
        async with Client.connected(running.url) as other:
            assert (await other.asked(get())).status == 200
    await kit.until(lambda: running.ended("client_disconnected") == 1, "the hang-up is noticed")
    await kit.until(lambda: scripted.hung_up == 1, "by the engine, too")
    assert running.in_flight == 0


async def test_a_client_that_stops_and_goes_on_gets_every_byte(engine, router, kit, torrent):
    torrent.pieces = 100
    running = await router([await engine(torrent)])
    async with Client.connected(running.url, receive_buffer=SMALL_BUFFER) as client:
        await client.send(CHAT)
        connection = await only_connection(running, kit)
        await kit.until(lambda: connection.transport.get_write_buffer_size() > 0, "bytes wait for the client")
        answer = await client.answer()
        assert answer.body == kit.token("x" * 64 * 1024) * 100 + kit.DONE
    assert running.ended("completed") == 1


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_a_client_that_takes_nothing_is_let_go_after_a_while(engine, router, kit, torrent, streamed):
    scripted = await engine(torrent if streamed else kit.answers(kit.whole(b"x" * 32 * 1024 * 1024)))
    running = await router([scripted], RouterConfig(limits=Limits(send_timeout="100ms")))
    async with Client.connected(running.url, receive_buffer=SMALL_BUFFER) as client:
        await client.send(CHAT)
        await kit.until(lambda: running.ended("client_disconnected") == 1, "the request has ended")
        await kit.until(lambda: not running.data_path.edge.connections, "the connection is gone")
        with contextlib.suppress(ConnectionResetError):
            while await client.read():
                pass
    assert running.in_flight == 0


async def test_an_answer_that_waits_for_its_client_outlives_the_keep_alive_time(engine, router, kit):
    """The answer has ended for the router, but its last bytes are still with it."""
    body = b"x" * 8 * 1024 * 1024
    config = RouterConfig(limits=Limits(keep_alive="50ms", header_timeout="50ms"))
    running = await router([await engine(kit.answers(kit.whole(body)))], config)
    async with Client.connected(running.url, receive_buffer=SMALL_BUFFER) as client:
        await client.send(post())
        connection = await only_connection(running, kit)
        await kit.until(lambda: connection.transport.get_write_buffer_size() > 0, "bytes wait for the client")
        await asyncio.sleep(0.5)  # the pause is the test: longer than the limit and a sweep
        assert (await client.answer()).body == body


@pytest.mark.parametrize("sent", [b"G", b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ", CHAT[:-60]])
async def test_a_head_that_does_not_arrive_in_time_is_a_408(router, sent):
    running = await router(config=RouterConfig(limits=Limits(header_timeout="100ms")))
    async with Client.connected(running.url) as client:
        assert (await client.asked(get())).status == 200
        answer = await client.asked(sent)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (408, "request_timeout")
        assert answer.headers["connection"] == "close"
        assert await client.closed()


async def test_a_head_that_trickles_in_is_not_given_more_time(router):
    running = await router(config=RouterConfig(limits=Limits(header_timeout="200ms")))

    async def trickle(client: Client) -> None:
        await client.send(b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ")
        while True:
            await client.send(b"x")
            await asyncio.sleep(0.02)  # the slowness of the client

    async with Client.connected(running.url) as client:
        trickling = asyncio.create_task(trickle(client))
        async with asyncio.timeout(2):
            assert (await client.answer()).status == 408
        trickling.cancel()
        await asyncio.wait([trickling])


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", UPLOAD, "/nothing"])
async def test_a_body_that_does_not_arrive_in_time_is_a_408(engine, router, kit, path):
    running = await router([await engine(kit.answers_then_hangs(), reads_bodies=False)], slow_bodies())
    async with Client.connected(running.url) as client:
        answer = await client.asked(post(path, b'{"model": "m"}').replace(b"content-length: 14", b"content-length: 15"))
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (408, "request_timeout")
        assert await client.closed()
    assert running.in_flight == 0
    assert running.relay.buffered_bytes == 0


def slow_bodies() -> RouterConfig:
    return RouterConfig(limits=Limits(body_timeout="100ms"))


async def test_a_body_that_trickles_in_is_limited_by_the_total_time(router):
    config = RouterConfig(limits=Limits(body_timeout="300ms"), timeouts=Timeouts(total="600ms"))
    running = await router(config=config)

    async def trickle(client: Client) -> None:
        await client.send(post("/v1/completions", b"{").replace(b"content-length: 1", b"content-length: 1000"))
        while True:
            await client.send(b" ")
            await asyncio.sleep(0.05)  # the slowness of the client

    async with Client.connected(running.url) as client:
        trickling = asyncio.create_task(trickle(client))
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(3):
            assert (await client.answer()).status == 408
        assert asyncio.get_running_loop().time() - began > 0.5, (
            "a body that arrives slowly is not one that stands still"
        )
        trickling.cancel()
        await asyncio.wait([trickling])


async def test_a_client_that_is_held_back_is_not_blamed_for_the_time(engine, router, kit):
    """An engine that takes no more of an upload holds the client back; the client's own time stands still."""
    go_on = asyncio.Event()

    async def script(connection):
        connection.reader._transport.pause_reading()
        await go_on.wait()
        connection.reader._transport.resume_reading()
        await connection.reader.readexactly(length)
        await connection.send(kit.whole(b"done"))

    length = 30_000_000
    running = await router([await engine(script, reads_bodies=False)], slow_bodies())
    async with Client.connected(running.url) as client:
        sending = asyncio.create_task(client.send(post(UPLOAD, b"x" * length)))
        connection = await only_connection(running, kit)
        await kit.until(lambda: connection._holding, "the client is held back")
        assert connection.transport.get_write_buffer_size() == 0
        await asyncio.sleep(0.5)  # the pause is the test: longer than the limit and a sweep
        go_on.set()
        assert (await client.answer()).body == b"done"
        await sending


async def test_an_engine_that_takes_no_upload_does_not_fill_the_router(engine, router, kit):
    async def script(connection):
        connection.reader._transport.pause_reading()
        await asyncio.Event().wait()

    running = await router([await engine(script, reads_bodies=False)])
    async with Client.connected(running.url) as client:
        sending = asyncio.create_task(client.send(post(UPLOAD, b"x" * 60_000_000)))
        connection = await only_connection(running, kit)
        await kit.until(lambda: running.data_path.pool.counts["active"] == 1 and connection._holding, "held back")
        (to_engine,) = running.data_path.pool._open
        assert to_engine._transport.get_write_buffer_size() < 1024 * 1024
        assert not sending.done()
        sending.cancel()
        await asyncio.wait([sending])
        client.reset()  # a mere end would wait behind the bytes that the router does not take
    await kit.until(lambda: running.in_flight == 0, "the request has ended")
