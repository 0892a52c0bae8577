"""A client that hangs up, at whatever moment and in whatever way, ends its request at the engine."""

import asyncio
import contextlib
import socket

import pytest
from wire import Client, get, post

from fairlead_router.config import RouterConfig, Timeouts

STREAMED = post("/v1/chat/completions", b'{"model": "m", "stream": true}')
WHOLE = post("/v1/chat/completions")


async def gone(running, kit, count=1):
    await kit.until(lambda: running.ended("client_disconnected") == count, "the request is counted as given up")
    await kit.until(lambda: not running.data_path.edge.connections, "the connection is gone")
    await kit.until(lambda: not running.data_path.pool.counts["active"], "no connection to the engine is left")
    assert running.in_flight == 0


def close(client: Client) -> None:
    client.socket.close()


HOW = pytest.mark.parametrize(
    "hang_up", [close, Client.half_close, Client.reset], ids=["closes", "half-closes", "resets"]
)


@HOW
@pytest.mark.parametrize("request_", [STREAMED, WHOLE], ids=["stream", "whole"])
async def test_a_client_that_hangs_up_while_it_waits_aborts_its_request(engine, router, kit, hang_up, request_):
    """Half-closing counts: whoever says that nothing more will come cannot be told from a process that died."""
    scripted = await engine(kit.answers_then_hangs())
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        await client.send(request_)
        await kit.until(lambda: len(scripted.requests) == 1, "the engine has the request")
        hang_up(client)
        await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
        await gone(running, kit)


@HOW
async def test_a_client_that_hangs_up_inside_its_stream_aborts_its_request(engine, router, kit, hang_up):
    scripted = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        await client.send(STREAMED)
        await client.read()
        hang_up(client)
        await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
        await gone(running, kit)


@HOW
async def test_a_client_that_has_sent_requests_ahead_and_hangs_up_is_noticed(engine, router, kit, hang_up):
    """It is not read while its first request runs, so nobody but the kernel knows."""
    scripted = await engine(kit.answers_then_hangs())
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        await client.send(WHOLE + get() + WHOLE)
        await kit.until(lambda: len(scripted.requests) == 1, "the engine has the first request")
        hang_up(client)
        await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
        await gone(running, kit)
    assert len(scripted.requests) == 1


@HOW
async def test_a_client_that_hangs_up_inside_its_upload_aborts_it(engine, router, kit, hang_up):
    scripted = await engine(kit.answers_then_hangs(), reads_bodies=False)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        head = post("/v1/audio/transcriptions", b"x" * 1000)
        await client.send(head[:-500])
        await kit.until(lambda: len(scripted.requests) == 1, "the engine has the head")
        hang_up(client)
        await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
        await gone(running, kit)


@pytest.fixture
def unaccepting():
    """An address where connecting neither succeeds nor fails: the queue of the listener is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_a_client_that_hangs_up_while_its_engine_is_connected_to_leaves_nothing(router, kit, unaccepting):
    running = await router([unaccepting], RouterConfig(timeouts=Timeouts(connect="60s")))
    async with Client.connected(running.url) as client:
        await client.send(WHOLE)
        await kit.until(lambda: running.in_flight == 1, "the request is placed")
    await gone(running, kit)


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_a_client_that_half_closes_inside_its_request_gets_no_answer(router, kit, stage):
    running = await router()
    async with Client.connected(running.url) as client:
        await client.send(STREAMED[:20] if stage == "head" else STREAMED[:-5])
        await kit.until(lambda: bool(running.data_path.edge.connections), "connected")
        client.half_close()
        assert await client.closed()
    assert running.relay.buffered_bytes == 0


async def test_whoever_hangs_up_between_requests_is_no_failure(engine, router, kit):
    running = await router([await engine(kit.answers(kit.whole(b"{}")))])
    async with Client.connected(running.url) as client:
        await client.asked(WHOLE)
        client.half_close()
        assert await client.closed()
    assert running.ended("completed") == 1
    assert running.ended("client_disconnected") == 0


async def test_many_clients_that_hang_up_at_any_moment_leave_nothing(engine, router, kit):
    scripted = await engine(kit.streams(*[kit.token("a")] * 20, kit.DONE))
    running = await router([scripted])

    async def hang_up_after(turns: int) -> None:
        async with Client.connected(running.url) as client:
            await client.send(STREAMED)
            for _ in range(turns):
                await asyncio.sleep(0)
            client.reset()

    async with asyncio.TaskGroup() as group:
        for turns in range(150):
            group.create_task(hang_up_after(turns))
    await kit.until(lambda: not running.data_path.edge.connections, "all connections are gone")
    await kit.until(lambda: not running.relay.running, "nothing runs")
    await kit.until(lambda: not running.data_path.pool.counts["active"], "no connection to the engine is left")
    assert running.in_flight == 0
