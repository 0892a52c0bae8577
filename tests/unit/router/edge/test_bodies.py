"""Bodies of requests: announced, chunked, asked for with 100-continue, refused, cut off, as large as allowed."""

import asyncio
import contextlib
import json

import pytest
from wire import Client, get, post

from fairlead_router.config import Limits, RouterConfig

WHOLE = b'{"id": "1"}'
BODY = b'{"model": "m"}'
UPLOAD = "/v1/audio/transcriptions"


def announced(path: str, length: int, *fields: str) -> bytes:
    """The head of a request whose body follows."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", f"content-length: {length}", *fields, "", ""]).encode()


def chunked(path: str, *chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.fixture
async def answering(engine, router, kit):
    """A router before an engine that answers at once."""
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    running.engine = scripted
    return running


@pytest.fixture
async def answering_early(engine, router, kit):
    """A router before an engine that answers without having read the body."""
    scripted = await engine(kit.answers(kit.whole(WHOLE)), reads_bodies=False)
    return await router([scripted])


@pytest.mark.parametrize("path", ["/v1/completions", UPLOAD])
async def test_100_continue_is_said_before_the_body_and_once(answering, path):
    async with Client.connected(answering.url) as client:
        await client.send(announced(path, len(BODY), "expect: 100-continue"))
        assert await client.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = await client.asked(BODY)
        assert (answer.status, answer.interim) == (200, ())
        assert (await client.asked(get())).status == 200
    assert "expect" not in answering.engine.requests[0].headers
    assert answering.engine.requests[0].body == BODY


@pytest.mark.parametrize("path", ["/v1/completions", "/health"])
async def test_100_continue_does_no_harm_when_the_body_is_there_already(answering, path):
    async with Client.connected(answering.url) as client:
        answer = await client.asked(announced(path, len(BODY), "expect: 100-continue") + BODY)
        assert answer.status == (200 if path != "/health" else 405)
        assert (await client.asked(get())).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(announced("/v1/completions", 5000, "expect: 100-continue"), 413, id="too large"),
        pytest.param(
            announced("/v1/completions", 5, "expect: 100-continue", "x-slo-class: x"), 400, id="no such class"
        ),
        pytest.param(
            announced("/v1/completions", 5, "expect: 100-continue").replace(b"POST", b"PUT"), 405, id="method"
        ),
        pytest.param(announced("/v1/completions", 5, "expect: 42"), 501, id="another expectation"),
    ],
)
async def test_a_body_that_will_be_refused_is_not_asked_for(router, head, status):
    running = await router(config=RouterConfig(limits=Limits(body_bytes=1024)))
    async with Client.connected(running.url) as client:
        answer = await client.asked(head)
        assert (answer.status, answer.interim) == (status, ())
        assert answer.headers["connection"] == "close", "nobody knows whether the body will come"
        assert await client.closed()


async def test_100_continue_is_not_said_to_an_http_1_0_client(answering):
    async with Client.connected(answering.url) as client:
        head = announced("/v1/completions", len(BODY), "expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
        await client.send(head)
        answer = await client.asked(BODY)
        assert (answer.status, answer.interim) == (200, ())


async def test_chunks_of_a_request_are_put_together_for_the_engine(answering):
    async with Client.connected(answering.url) as client:
        assert (await client.asked(chunked("/v1/completions", BODY[:3], BODY[3:]))).status == 200
    (request,) = answering.engine.requests
    assert (request.body, request.headers["content-length"]) == (BODY, str(len(BODY)))


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("how", ["announced", "chunked"])
async def test_a_body_of_64_mib_passes_and_one_byte_more_is_refused(answering, how, extra):
    limit = answering.router.config.limits.body_bytes
    assert limit == 64 * 1024 * 1024
    body = BODY + b" " * (limit - len(BODY) + extra)
    pieces = [body[at : at + 1024 * 1024] for at in range(0, len(body), 1024 * 1024)]

    async def send(client: Client) -> None:
        if how == "announced":
            pieces.insert(0, announced("/v1/completions", len(body)))
        else:
            pieces[:] = [
                chunked("/v1/completions", end=b""),
                *(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces),
                b"0\r\n\r\n",
            ]
        for piece in pieces:
            await client.send(piece)

    async with Client.connected(answering.url) as client:
        sending = asyncio.create_task(send(client))
        answer = await client.answer()
        if extra:
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "request_too_large")
            assert answering.engine.requests == []
        else:
            assert answer.body == WHOLE
            assert answering.engine.requests[0].body == body
        await asyncio.gather(sending, return_exceptions=True)
    assert answering.relay.buffered_bytes == 0


async def test_all_bodies_together_are_limited(answering, kit):
    answering.router.apply(RouterConfig(limits=Limits(buffered_bytes=1024 * 1024)))
    half = b" " * 600_000
    async with Client.connected(answering.url) as first, Client.connected(answering.url) as second:
        await first.send(announced("/v1/completions", len(half) + len(BODY)) + half)
        await kit.until(lambda: answering.relay.buffered_bytes == len(half), "the first body is held")
        answer = await second.asked(announced("/v1/completions", len(half) + len(BODY)) + half)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "overloaded")
        assert (await first.asked(BODY)).body == WHOLE
    assert answering.relay.buffered_bytes == 0


@pytest.mark.parametrize("sent", [BODY[:5], b""])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models"])
async def test_a_body_that_breaks_off_leaves_nothing_behind(answering, kit, path, sent):
    async with Client.connected(answering.url) as client:
        await client.send(announced(path, 100) + sent)
        await kit.until(lambda: bool(answering.data_path.edge.connections), "connected")
        client.reset()
    await kit.until(lambda: not answering.data_path.edge.connections, "the connection is gone")
    assert answering.relay.buffered_bytes == 0
    assert answering.engine.requests == []


@pytest.mark.parametrize("broken", [b"zz\r\n", b"3\r\nabcd\r\n", b"0\r\nx : y\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\n"])
@pytest.mark.parametrize("path", ["/v1/completions", UPLOAD, "/v1/models"])
async def test_chunks_that_are_none_are_a_400_and_the_end_of_the_connection(answering, path, broken):
    async with Client.connected(answering.url) as client:
        answer = await client.asked(chunked(path, BODY, end=broken + get()))
        assert answer.status == 400
        assert await client.closed()
    assert answering.in_flight == 0


@pytest.mark.parametrize("behind", [b"zz\r\n", b"0\r\nx : y\r\n\r\n"])
async def test_after_its_answer_a_request_gets_no_second_one_for_its_broken_rest(answering_early, behind):
    """The engine answers before the body has come; what is wrong with the rest of it is nobody's answer."""
    async with Client.connected(answering_early.url) as client:
        await client.send(chunked(UPLOAD, BODY, end=b""))
        assert (await client.answer()).body == WHOLE
        await client.send(behind)
        assert await client.closed(), "nothing came that is no answer to a request"


async def test_the_rest_of_a_body_that_was_answered_early_is_skipped_and_the_connection_goes_on(answering_early):
    async with Client.connected(answering_early.url) as client:
        await client.send(announced(UPLOAD, 1000) + b"x" * 500)
        assert (await client.answer()).body == WHOLE
        await client.send(b"x" * 500)
        assert (await client.asked(post("/v1/completions"))).body == WHOLE


async def test_a_body_that_was_answered_early_and_never_ends_is_cut_off(answering_early):
    async with Client.connected(answering_early.url) as client:
        await client.send(announced(UPLOAD, 50_000_000) + b"x" * 500)
        assert (await client.answer()).body == WHOLE
        with contextlib.suppress(ConnectionError):
            for _ in range(49):
                await client.send(b"x" * 1_000_000)
        assert await client.closed()


async def test_a_client_whose_body_was_held_back_reads_on_after_an_early_answer(engine, router, kit):
    """The engine takes nothing, so the client is held back; then it answers, and the connection must move again."""
    answer_now = asyncio.Event()

    async def script(connection):
        connection.reader._transport.pause_reading()
        await answer_now.wait()
        await connection.send(kit.whole(b"early", "413 Too Large"))
        await connection.hang()

    scripted = await engine(script, reads_bodies=False)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        length = 60_000_000
        sending = asyncio.create_task(client.send(announced(UPLOAD, length) + b"x" * length))
        (connection,) = await _connections(running, kit)
        await kit.until(lambda: connection._holding, "the client is held back")
        answer_now.set()
        assert (await client.answer()).body == b"early"
        await asyncio.wait([sending], timeout=5)
        assert sending.done(), "the router reads on, or hangs up"
        sending.exception()


async def _connections(running, kit):
    await kit.until(lambda: bool(running.data_path.edge.connections), "connected")
    return running.data_path.edge.connections


async def test_a_large_body_is_read_beside_the_loop_and_a_fault_there_is_answered(answering, monkeypatch, caplog):
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(answering.router, "check_model", faulty)
    async with Client.connected(answering.url) as client:
        for body in (BODY, BODY + b" " * 300_000):
            answer = await client.asked(post("/v1/completions", body))
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (500, "internal_error")
    assert caplog.text.count("Traceback") == 2
    assert answering.relay.buffered_bytes == 0
