"""Engines whose answers are not what they should be: never relayed as if they were, never mixed with the next one."""

import asyncio
import json

import pytest
from wire import BrokenOffError, Client, get, post

from fairlead_router.config import RouterConfig, Timeouts

CHAT = post("/v1/chat/completions")
STREAMED = post("/v1/chat/completions", b'{"model": "m", "stream": true}')
WHOLE = b'{"id": "1"}'
OK = b"HTTP/1.1 200 OK\r\n"


def error_of(answer) -> str:
    return json.loads(answer.body)["error"]["code"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x46", id="TLS"),
        pytest.param(b"\x00" * 100, id="NUL"),
        pytest.param(b"<html>", id="HTML without a head"),
        pytest.param(b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", id="bare LF"),
        pytest.param(OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}", id="a folded line"),
        pytest.param(OK + b"x : a\r\ncontent-length: 2\r\n\r\n{}", id="a blank before a colon"),
        pytest.param(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param(OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", id="length and coding"),
        pytest.param(OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, chunked"),
        pytest.param(OK + b"content-length: -1\r\n\r\n", id="a negative length"),
        pytest.param(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", id="a size that is none"),
        pytest.param(OK + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", id="a size that overflows"),
        pytest.param(OK + b"x: " + b"x" * 300_000, id="a value without end"),
        pytest.param(OK + b"x: y\r\n" * 50_000, id="fields without end"),
        pytest.param(OK + b"x: y\r\n" * 300 + b"content-length: 2\r\n\r\n{}", id="too many fields"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 10_000, id="interim heads without end"),
        pytest.param(b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", id="a change of protocol"),
        pytest.param(b"HTTP/1.1 042 X\r\ncontent-length: 2\r\n\r\n{}", id="a status below 100"),
        pytest.param(b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", id="HTTP/2.0"),
    ],
)
@pytest.mark.parametrize("request_", [CHAT, STREAMED], ids=["whole", "stream"])
async def test_what_is_no_answer_is_a_502_and_the_engine_is_left(engine, router, kit, answer, request_):
    scripted = await engine(kit.answers_then_hangs(answer))
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        got = await client.asked(request_)
        assert (got.status, error_of(got)) == (502, "engine_disconnected")
        await kit.until(lambda: scripted.hung_up == 1, "the router has closed the connection")
        assert (await client.asked(get())).status == 200
    assert running.in_flight == 0


@pytest.mark.parametrize("statuses", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_interim_answers_are_passed_over(engine, router, kit, statuses):
    interim = b"HTTP/1.1 " + statuses + b"\r\nlink: x\r\n\r\n"
    scripted = await engine(kit.answers(interim * 3 + kit.whole(WHOLE)))
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        for _ in range(2):
            answer = await client.asked(CHAT)
            assert (answer.status, answer.body, answer.interim) == (200, WHOLE, ())
    assert scripted.connections == 1


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"more than announced", id="bytes"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother", id="a second answer"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="an interim answer"),
    ],
)
@pytest.mark.parametrize("when", ["at once", "later"])
async def test_what_comes_behind_an_answer_is_never_the_next_one(engine, router, kit, rest, when):
    """An answer that nobody asked for would be given to the next request, and so to somebody else."""
    late = asyncio.Event()

    async def script(connection):
        if scripted.connections > 1:
            await connection.send(kit.whole(b"second"))
        elif when == "at once":
            await connection.send(kit.whole(b"first") + rest)
        else:
            await connection.send(kit.whole(b"first"))
            await late.wait()
            await connection.send(rest)
            await connection.hang()

    scripted = await engine(script)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        assert (await client.asked(CHAT)).body == b"first"
        late.set()
        await kit.until(lambda: not running.data_path.pool.counts["idle"], "the connection is not kept")
        assert (await client.asked(CHAT)).body == b"second"
    assert scripted.connections == 2


async def test_an_answer_that_is_shorter_than_announced_breaks_the_connection(engine, router, kit):
    head = kit.head("200 OK", "content-type: application/json", "content-length: 100")
    running = await router([await engine(kit.answers_then_closes(head + b"{}"))])
    async with Client.connected(running.url) as client:
        await client.send(CHAT)
        with pytest.raises((BrokenOffError, ConnectionResetError)):
            await client.answer()
    assert running.ended("engine_disconnected") == 1


async def test_an_engine_that_answers_before_it_has_the_request_is_believed(engine, router, kit):
    """It may refuse early; what is left of the request must then not stand before the next one."""

    async def script(connection):
        await connection.send(kit.whole(b"early", "413 Too Large"))
        await connection.hang()

    scripted = await engine(script, reads_bodies=False)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        body = b'{"model": "m"}' + b" " * 30_000_000
        sending = asyncio.create_task(client.send(post("/v1/completions", body)))
        assert (await client.answer()).body == b"early"
        await sending
    await kit.until(lambda: running.data_path.pool.counts["active"] == 0, "nothing is under way")
    assert running.relay.buffered_bytes == 0


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", b"", id="204 with a length"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b"", id="304 with a length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", b"", id="204, chunked"),
        pytest.param(b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", b"", id="205"),
        pytest.param(b"HTTP/1.1 299 X\r\ncontent-length: 2\r\n\r\n{}", b"{}", id="an unknown status"),
        pytest.param(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}", b"{}", id="no reason"),
    ],
)
async def test_unusual_answers_are_framed_properly(engine, router, kit, head, body):
    running = await router([await engine(kit.answers(head + body))])
    async with Client.connected(running.url) as client:
        for _ in range(2):
            answer = await client.asked(CHAT)
            assert (answer.status, answer.body) == (int(head[9:12]), body)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_ends_with_its_connection_is_whole(engine, router, kit, version):
    scripted = await engine(kit.answers_then_closes(b"HTTP/" + version + b" 200 OK\r\n\r\n" + WHOLE))
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        for _ in range(2):
            answer = await client.asked(CHAT)
            assert answer.body == WHOLE
            assert answer.headers["transfer-encoding"] == "chunked"
    assert scripted.connections == 2


async def test_a_stream_that_ends_with_its_connection_is_whole_only_if_it_says_so(engine, router, kit):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    running = await router([await engine(kit.answers_then_closes(head + kit.token("a") + kit.DONE))])
    async with Client.connected(running.url) as client:
        assert (await client.asked(STREAMED)).body == kit.token("a") + kit.DONE
        running.show([await engine(kit.answers_then_closes(head + kit.token("a")))])
        rest = (await client.asked(STREAMED)).body.removeprefix(kit.token("a"))
        assert json.loads(rest.removeprefix(b"data: "))["error"]["code"] == "engine_disconnected"


async def test_headers_of_an_engine_cannot_speak_for_the_router(engine, router, kit):
    fields = ("x-fairlead-reason: completed", "x-fairlead-endpoint: elsewhere", "x-request-id: forged", "date: never")
    running = await router([await engine(kit.answers(kit.whole(WHOLE, "200 OK", *fields)))])
    async with Client.connected(running.url) as client:
        answer = await client.asked(CHAT)
    assert answer.headers["x-fairlead-reason"] == "placed"
    assert answer.headers["x-fairlead-endpoint"] != "elsewhere"
    assert not answer.headers["x-request-id"].startswith("forged")
    assert answer.headers["date"] != "never"


async def test_an_engine_that_trickles_a_head_is_limited_by_time(engine, router, kit):
    async def trickle(connection):
        await connection.send(OK)
        while not connection.writer.is_closing():
            await connection.send(b"x: y\r\n")
            await asyncio.sleep(0.01)  # the slowness of the engine

    running = await router([await engine(trickle)], RouterConfig(timeouts=Timeouts(first_byte="200ms")))
    async with Client.connected(running.url) as client:
        answer = await client.asked(STREAMED)
        assert (answer.status, error_of(answer)) == (504, "first_byte_timeout")
