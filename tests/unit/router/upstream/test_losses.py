"""An engine that breaks off, or falls silent, at each stage of its answer: the client gets a proper end, or none.

Before the first byte of a body everything can still be answered with a status. After it, a stream ends with one error
event, and any other answer breaks the client's connection: nobody can take a part for the whole.
"""

import asyncio
import json

import h11
import pytest
from wire import BrokenOffError, Client, get, post

from fairlead_router.config import RouterConfig, Timeouts

STREAMED = post("/v1/chat/completions", b'{"model": "m", "stream": true}')
WHOLE = post("/v1/chat/completions")
SHORT = Timeouts(first_byte="100ms", inter_token="100ms", total="400ms")


def stages(kit):
    """What the engine has sent when it breaks off or falls silent, and what must have been relayed."""
    token, last = kit.token("a"), kit.token("b", "stop")
    chunked = kit.head("200 OK", "content-type: application/json", "transfer-encoding: chunked")
    announced = kit.head("200 OK", "content-type: application/json", "content-length: 4")
    return {
        ("stream", "before the head"): (b"", b""),
        ("stream", "inside the head"): (kit.STREAM_HEAD[:-7], b""),
        ("stream", "behind the head"): (kit.STREAM_HEAD, b""),
        ("stream", "inside the first chunk"): (kit.STREAM_HEAD + kit.chunk(token)[:-9], b""),
        ("stream", "behind the first chunk"): (kit.STREAM_HEAD + kit.chunk(token), token),
        ("stream", "inside a size"): (kit.STREAM_HEAD + kit.chunk(token) + b"5", token),
        ("stream", "inside a chunk"): (kit.STREAM_HEAD + kit.chunk(token) + kit.chunk(last)[:-9], token),
        ("stream", "before [DONE]"): (kit.STREAM_HEAD + kit.chunk(token + last), token + last),
        ("done", "before the last chunk"): (kit.STREAM_HEAD + kit.chunk(token + kit.DONE), token + kit.DONE),
        ("done", "inside the last chunk"): (kit.STREAM_HEAD + kit.chunk(token + kit.DONE) + b"0\r\n", token + kit.DONE),
        ("whole", "before the head"): (b"", b""),
        ("whole", "inside the head"): (announced[:-7], b""),
        ("whole", "behind the head"): (announced, b""),
        ("whole", "inside the body"): (announced + b"{ ", b"{ "),
        ("whole", "behind the head, chunked"): (chunked, b""),
        ("whole", "inside a chunk"): (chunked + b"2\r\n{", b"{"),
        ("whole", "before the last chunk"): (chunked + b"2\r\n{}\r\n", b"{}"),
        ("whole", "inside the last chunk"): (chunked + b"2\r\n{}\r\n0\r\n", b"{}"),
    }


NAMES = [
    *[("stream", f"{where} chunk") for where in ("inside the first", "behind the first", "inside a")],
    *[("stream", where) for where in ("before the head", "inside the head", "behind the head", "inside a size", "before [DONE]")],
    *[("done", f"{where} the last chunk") for where in ("before", "inside")],
    *[("whole", where) for where in ("before the head", "inside the head", "behind the head", "inside the body")],
    *[("whole", where) for where in ("behind the head, chunked", "inside a chunk", "before the last chunk", "inside the last chunk")],
]  # fmt: skip
STAGE = pytest.mark.parametrize("stage", NAMES, ids=[f"{kind}, {where}" for kind, where in NAMES])


def test_every_stage_is_tried(kit):
    assert sorted(stages(kit)) == sorted(NAMES)


async def ends_as_it_should(client: Client, kind: str, relayed: bytes, codes: set[str]) -> None:
    """Read the answer, whose body must begin with `relayed`, and judge its end by the kind of the answer."""
    if not relayed:
        answer = await client.answer()
        assert answer.status in {502, 504}
        assert json.loads(answer.body)["error"]["code"] in codes
        assert (await client.asked(get())).status == 200, "the connection goes on"
    elif kind == "whole":
        with pytest.raises((BrokenOffError, h11.RemoteProtocolError, ConnectionResetError)):
            await client.answer()
    else:
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body.startswith(relayed)
        rest = answer.body.removeprefix(relayed)
        if kind == "done":
            assert rest == b"", "behind [DONE] nothing is missing"
        else:
            assert json.loads(rest.removeprefix(b"data: "))["error"]["code"] in codes
        assert (await client.asked(get())).status == 200, "the connection goes on"


@STAGE
@pytest.mark.parametrize("how", ["resets", "closes"])
async def test_an_engine_that_breaks_off(engine, router, kit, stage, how):
    kind, _ = stage
    sent, relayed = stages(kit)[stage]

    async def script(connection):
        await connection.send(sent)
        if relayed:
            await read.wait()
        if how == "resets":
            connection.reset()
        else:
            connection.writer.close()

    read = asyncio.Event()
    scripted = await engine(script)
    running = await router([scripted])
    async with Client.connected(running.url) as client:
        await client.send(WHOLE if kind == "whole" else STREAMED)
        if relayed:
            await kit.until(client.has_something_to_read, "something has been relayed")
        read.set()
        await ends_as_it_should(client, kind, relayed, {"engine_unreachable", "engine_disconnected"})
    await kit.until(lambda: running.in_flight == 0, "the place is given back")
    assert running.data_path.pool.counts["active"] == 0
    assert running.data_path.pool.counts["idle"] == 0


@STAGE
async def test_an_engine_that_falls_silent(engine, router, kit, stage):
    kind, _ = stage
    sent, relayed = stages(kit)[stage]
    scripted = await engine(kit.answers_then_hangs(sent))
    running = await router([scripted], RouterConfig(timeouts=SHORT))
    async with Client.connected(running.url) as client:
        await client.send(WHOLE if kind == "whole" else STREAMED)
        codes = {"first_byte_timeout", "inter_token_timeout", "total_timeout"}
        await ends_as_it_should(client, kind, relayed, codes)
    await kit.until(lambda: scripted.hung_up == 1, "the engine sees the hang-up")
    assert running.in_flight == 0
    assert running.data_path.pool.counts["active"] == 0


@pytest.mark.parametrize("how", ["resets", "closes"])
async def test_a_broken_answer_without_framing_is_not_taken_for_a_whole_one_by_an_http_1_0_client(
    engine, router, kit, how
):
    """It has no length and no chunks: only a reset tells it from one that has ended."""
    head = kit.head("200 OK", "content-type: application/json", "transfer-encoding: chunked")
    break_off = asyncio.Event()

    async def script(connection):
        await connection.send(head + b'9\r\n{"half": \r\n')
        await break_off.wait()
        connection.reset() if how == "resets" else connection.writer.close()

    running = await router([await engine(script)])
    async with Client.connected(running.url) as client:
        await client.send(WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert b'{"half": ' in await client.read()
        break_off.set()
        assert await client.reset_by_server()


@pytest.mark.parametrize("how", ["resets", "closes", "falls silent"])
async def test_an_engine_that_is_lost_inside_an_upload_ends_it(engine, router, kit, how):
    async def script(connection):
        if how == "falls silent":
            await connection.hang()
        elif how == "resets":
            connection.reset()
        else:
            connection.writer.close()

    scripted = await engine(script, reads_bodies=False)
    running = await router([scripted], RouterConfig(timeouts=Timeouts(total="300ms")))
    async with Client.connected(running.url) as client:
        await client.send(post("/v1/audio/transcriptions", b"x" * 100_000)[:-10])
        answer = await client.answer()
        assert answer.status in {502, 504, 408}
    await kit.until(lambda: running.in_flight == 0, "the place is given back")
    assert len(scripted.requests) == 1, "an upload cannot be sent again"
