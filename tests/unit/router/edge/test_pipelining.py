"""Requests that a client sends ahead of the answers: answered in their order, one at a time, in bounded memory."""

import asyncio
import contextlib
import gc

import pytest
from wire import Client, get, post

from fairlead_router.config import RouterConfig
from fairlead_router.http1.requests import RequestHead

WHOLE = b'{"id": "1"}'
CHAT = post("/v1/chat/completions")


def named(name: str) -> bytes:
    """A relayed request whose answer holds the name."""
    return post("/v1/completions", b'{"model": "%b"}' % name.encode())


@pytest.fixture
async def echoing(engine, router, kit):
    """A router before an engine that answers with the body of the request."""

    async def script(connection):
        await connection.send(kit.whole(scripted.requests[-1].body))

    scripted = await engine(script)
    return await router([scripted], RouterConfig(models=("a", "b", "c")))


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        pytest.param([named("a"), named("b")], [b'"a"', b'"b"'], id="hot, hot"),
        pytest.param([named("a"), get("/health")], [b'"a"', b"ok"], id="hot, cold"),
        pytest.param([get("/health"), named("a")], [b"ok", b'"a"'], id="cold, hot"),
        pytest.param([get("/health"), get("/ready")], [b"ok", b"ready"], id="cold, cold"),
        pytest.param([get("/nothing"), named("a")], [b"not_found", b'"a"'], id="unknown path, hot"),
        pytest.param([get("/v1/completions"), named("a")], [b"method_not_allowed", b'"a"'], id="refused, hot"),
        pytest.param([post(body=b"{"), get("/ready")], [b"invalid_request", b"ready"], id="no JSON, cold"),
        pytest.param([named("z"), named("a")], [b"model_not_found", b'"a"'], id="unknown model, hot"),
        pytest.param([named("a"), b"garbage\r\n\r\n"], [b'"a"', b"invalid_request"], id="hot, garbage"),
        pytest.param([named("a"), named("b"), get(), named("c")] * 5, [b'"a"', b'"b"', b"ok", b'"c"'] * 5, id="20"),
    ],
)
@pytest.mark.parametrize("cut", [None, 1, 50], ids=["at once", "byte by byte", "in pieces"])
async def test_pipelined_requests_are_answered_in_their_order(echoing, requests, expected, cut):
    data = b"".join(requests)
    cut = cut or len(data)
    async with Client.connected(echoing.url) as client:
        for at in range(0, len(data), cut):
            await client.send(data[at : at + cut])
            await asyncio.sleep(0)
        for part in expected:
            assert part in (await client.answer()).body
    assert echoing.in_flight == 0


async def test_nothing_behind_a_request_that_closes_the_connection_is_carried_out(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        closing = post("/v1/completions", b'{"model": "m"}', "connection: close")
        assert (await client.asked(closing + CHAT)).body == WHOLE
        assert await client.closed()
    assert len(scripted.requests) == 1


async def test_a_request_waits_until_the_answer_before_it_has_ended(engine, router, kit):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    scripted = await engine(script)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        await client.send(CHAT + CHAT)
        await kit.until(lambda: running.in_flight == 1, "the first is placed")
        assert b"HTTP/1.1 200" in await client.read()
        assert len(scripted.requests) == 1
        go_on.set()
        await kit.until(lambda: len(scripted.requests) == 2, "the second follows")


@pytest.mark.parametrize(
    ("request_", "status"), [(get("/x"), 404), (get("/v1/completions"), 405)], ids=["cold", "refused"]
)
async def test_5000_pipelined_requests_neither_nest_nor_fail(router, request_, status):
    running = await router()
    async with Client.connected(running.url) as client:
        sending = asyncio.create_task(client.send(request_ * 5000))
        for _ in range(5000):
            assert (await client.answer()).status == status
        await sending


@pytest.mark.parametrize(
    "request_",
    [get("/health"), get("/v1/completions"), post(body=b"{}"), CHAT],
    ids=["cold", "refused", "refused with its body", "hot"],
)
async def test_a_client_that_sends_ahead_and_reads_nothing_is_held_back(engine, router, kit, request_):
    """Each answer is larger than its request: unread, they must not pile up in the router."""
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    loop = asyncio.get_running_loop()
    async with Client.connected(running.url, receive_buffer=4096) as client:
        with contextlib.suppress(TimeoutError):
            for _ in range(8 * 1024 * 1024 // len(request_) // 200):
                async with asyncio.timeout(0.3):  # the router takes no more
                    await loop.sock_sendall(client.socket, request_ * 200)
        (connection,) = running.data_path.edge.connections
        assert connection.transport.get_write_buffer_size() < 256 * 1024


async def test_of_what_a_client_sends_ahead_little_is_parsed_before_its_turn(engine, router, kit):
    """Parsed, a tiny request takes forty times its size: a thousand clients could fill the memory."""
    running = await router([await engine(kit.answers_then_hangs())])
    async with Client.connected(running.url) as client:
        await client.send(CHAT + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 7000)
        await kit.until(lambda: running.in_flight == 1, "the first is placed")
        (connection,) = running.data_path.edge.connections
        await kit.until(lambda: connection._reading.paused, "the client is held back")
        gc.collect()
        heads = sum(isinstance(each, RequestHead) for each in gc.get_objects())
        assert heads < 1000
