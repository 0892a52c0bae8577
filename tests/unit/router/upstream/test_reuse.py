"""Which connections to engines are kept for the next request, and in which state."""

import asyncio
import socket
import struct

import pytest
from wire import Client, get, post

CHAT = post("/v1/chat/completions")
WHOLE = b'{"id": "1"}'


async def test_a_connection_that_was_held_back_for_a_slow_client_serves_the_next_one(engine, router, kit):
    """The end of the answer and the pause may come with the same bytes."""
    scripted = await engine(kit.answers(kit.whole(b"x" * 100_000)))
    running = await router([scripted])
    async with Client.connected(running.url, receive_buffer=4096) as slow:
        await slow.send(CHAT * 200)
        (connection,) = running.data_path.edge.connections
        await kit.until(lambda: connection.transport.get_write_buffer_size() > 0, "bytes wait for the slow client")
        await kit.until(lambda: running.data_path.pool.counts["active"] == 0, "the engine has ended its answer")
        async with Client.connected(running.url) as other, asyncio.timeout(2):
            assert len((await other.asked(CHAT)).body) == 100_000
    assert scripted.connections == 1


async def test_an_answer_that_ends_with_its_connection_is_counted_out(engine, router, kit):
    """The answer before it had a length, and said that the connection goes on."""

    async def script(connection):
        if len(scripted.requests) % 2:
            await connection.send(kit.whole(WHOLE))
        else:
            await kit.answers_then_closes(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE)(connection)

    scripted = await engine(script)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        for _ in range(6):
            assert (await client.asked(CHAT)).body == WHOLE
    assert scripted.connections == 3
    await kit.until(lambda: running.data_path.pool.counts["idle"] == 0, "none is kept")
    assert running.data_path.pool.counts["active"] == 0


@pytest.fixture
async def resetting():
    """The address of a listener that resets every connection at once."""

    class Resetting(asyncio.Protocol):
        def connection_made(self, transport):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    server = await asyncio.get_running_loop().create_server(Resetting, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_connections_that_are_reset_at_once_are_a_502_and_leave_nothing(router, kit, resetting):
    running = await router([resetting])
    async with Client.connected(running.url) as client, asyncio.timeout(5):
        for _ in range(100):
            assert (await client.asked(CHAT)).status == 502
        assert (await client.asked(get())).status == 200
    assert running.in_flight == 0
    assert sum(running.data_path.pool.counts.values()) == 0
