"""Many requests on one connection, of whatever kind, answered one after another and each exactly once."""

import asyncio
import json
from random import Random

import pytest
from wire import Client, get, post

from fairlead_router.config import Limits, RouterConfig
from fairlead_router.deadlines import SWEEP_SECONDS

WHOLE = b'{"id": "1"}'
CHAT = post("/v1/chat/completions")
TOKENIZE = post("/tokenize", b'{"prompt": "a"}')
REFUSED = {
    "no such path": (get("/nothing"), 404),
    "no such method": (get("/v1/completions"), 405),
    "no model": (post(body=b"{}"), 400),
    "no JSON": (post(body=b"{"), 400),
    "no such class": (post("/v1/completions", b'{"model": "m"}', "x-slo-class: gold"), 400),
    "no such class, a long body": (post("/v1/completions", b"x" * 100_000, "x-slo-class: gold"), 400),
    "no method, with a body": (post("/v1/completions", b"x" * 1000).replace(b"POST", b"PUT"), 405),
}


@pytest.mark.parametrize(("refused", "status"), REFUSED.values(), ids=REFUSED)
async def test_a_refused_request_leaves_its_connection_usable(engine, router, kit, refused, status):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    async with Client.connected(running.url) as client:
        for _ in range(3):
            assert (await client.asked(refused)).status == status
            assert (await client.asked(CHAT)).body == WHOLE
            assert (await client.asked(get())).status == 200


async def test_200_requests_of_all_kinds_are_answered_on_one_connection(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted], RouterConfig(models=("m",)))
    kinds = [(CHAT, 200), (TOKENIZE, 200), (get(), 200), (get("/v1/models"), 200), *REFUSED.values()]
    random = Random(1)
    async with Client.connected(running.url) as client:
        for request, status in random.choices(kinds, k=200):
            assert (await client.asked(request)).status == status
    assert running.in_flight == 0


async def test_a_connection_outlives_its_keep_alive_time_while_a_stream_runs_on_it(engine, router, kit):
    """uvicorn's own protocol would close the connection while its cold side is idle."""
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    running = await router(
        [await engine(script)], RouterConfig(limits=Limits(keep_alive="50ms", header_timeout="50ms"))
    )
    loop = asyncio.get_running_loop()
    async with Client.connected(running.url) as client:
        assert (await client.asked(get())).status == 200
        loop.call_later(3 * SWEEP_SECONDS, go_on.set)
        assert (await client.asked(CHAT)).body == kit.token("a") + kit.DONE
        assert (await client.asked(get())).status == 200
        assert (await client.asked(CHAT)).body == kit.token("a") + kit.DONE
        assert await client.closed(), "once it is idle, its time is limited again"


async def test_an_idle_connection_is_closed_after_its_keep_alive_time(router):
    running = await router(config=RouterConfig(limits=Limits(keep_alive="50ms")))
    async with Client.connected(running.url) as silent, Client.connected(running.url) as client:
        assert (await client.asked(get())).status == 200
        assert await client.closed()
        assert await silent.closed()


@pytest.mark.parametrize("request_", [CHAT, get(), get("/nothing"), post(body=b"{")], ids=["hot", "cold", "404", "400"])
@pytest.mark.parametrize(
    ("version", "field", "stays"),
    [
        (b"1.1", b"connection: close", False),
        (b"1.1", b"connection: keep-alive", True),
        (b"1.0", b"x: y", False),
        (b"1.0", b"connection: keep-alive", True),
    ],
)
async def test_the_client_says_whether_the_connection_goes_on(engine, router, kit, request_, version, field, stays):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    request_ = request_.replace(b"HTTP/1.1\r\n", b"HTTP/" + version + b"\r\n" + field + b"\r\n")
    async with Client.connected(running.url) as client:
        answer = await client.asked(request_)
        if stays:
            assert answer.headers.get("connection", "keep-alive") == "keep-alive"
            assert (await client.asked(get())).status == 200
        else:
            assert answer.headers["connection"] == "close"
            assert await client.closed()


async def test_a_stream_to_an_http_1_0_client_ends_with_its_connection(engine, router, kit):
    running = await router([await engine(kit.streams(kit.token("a"), kit.DONE))])
    async with Client.connected(running.url) as client:
        answer = await client.asked(CHAT.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.body == kit.token("a") + kit.DONE
        assert "transfer-encoding" not in answer.headers


async def test_an_answer_to_head_has_no_body(router):
    running = await router()
    async with Client.connected(running.url) as client:
        answer = await client.asked(get("/v1/completions").replace(b"GET", b"HEAD"), "HEAD")
        assert (answer.status, answer.body) == (405, b"")
        assert int(answer.headers["content-length"]) > 0
        assert (await client.asked(get())).status == 200


async def test_an_offer_of_another_protocol_is_declined_and_the_request_is_served(engine, router, kit):
    """sglang-router asks for HTTP/2 in this way; whoever does must get an answer all the same."""
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    offer = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")
    async with Client.connected(running.url) as client:
        assert (await client.asked(get("/health", *offer))).status == 200
        assert (await client.asked(post("/v1/completions", b'{"model": "m"}', *offer))).body == WHOLE
        assert (await client.asked(get())).status == 200


async def test_an_http_2_client_without_prior_agreement_is_told_so_and_harms_nobody(router):
    running = await router()
    async with Client.connected(running.url) as other, Client.connected(running.url) as client:
        answer = await client.asked(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert answer.status == 400
        assert json.loads(answer.body)["error"]["code"] == "invalid_request"
        assert await client.closed()
        assert (await other.asked(get())).status == 200


async def test_connections_to_engines_are_kept_under_load(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])

    async def load(client: Client) -> None:
        for _ in range(50):
            assert (await client.asked(CHAT)).body == WHOLE

    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        clients = [Client.connected(running.url) for _ in range(8)]
        opened = [await client.__aenter__() for client in clients]
        tasks = [group.create_task(load(client)) for client in opened]
        await asyncio.gather(*tasks)
        for client in clients:
            await client.__aexit__(None, None, None)
    assert len(scripted.requests) == 400
    assert scripted.connections <= 8, "no more connections than requests at a time"
