"""What is too much is refused in words that the client gets to read, and harms nobody else."""

import contextlib
import json
import tracemalloc

import pytest
from wire import Client, get, post

from fairlead_router.config import Limits, RouterConfig

CHAT = post("/v1/chat/completions")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get("/" + "x" * 5000), id="target"),
        pytest.param(get("/health", "x: " + "x" * 5000), id="value"),
        pytest.param(get("/health", *["x: y"] * 300), id="fields"),
        pytest.param(get("/health", "x: " + "x" * 50_000_000), id="far too large"),
    ],
)
async def test_a_head_that_is_too_large_is_a_431_and_the_end_of_the_connection(router, request_):
    running = await router(config=RouterConfig(limits=Limits(header_bytes=4096)))
    async with Client.connected(running.url) as client, Client.connected(running.url) as other:
        if len(request_) < 1_000_000:
            await client.send(request_)
        else:
            await client.send(request_[:100_000])  # the rest would be dropped unread
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (431, "headers_too_large")
        assert await client.closed()
        assert (await other.asked(get())).status == 200


async def test_one_connection_too_many_is_told_so_and_the_others_go_on(router, kit):
    running = await router(config=RouterConfig(limits=Limits(connections=2)))
    async with Client.connected(running.url) as first, Client.connected(running.url) as second:
        assert (await first.asked(get())).status == 200
        assert (await second.asked(get())).status == 200
        async with Client.connected(running.url) as third:
            answer = await third.asked(get())
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "overloaded")
            assert "retry-after" in answer.headers
            assert await third.closed()
        assert (await first.asked(get())).status == 200
    await kit.until(lambda: not running.data_path.edge.connections, "all are gone")
    async with Client.connected(running.url) as fourth:
        assert (await fourth.asked(get())).status == 200


@pytest.mark.parametrize("depth", [127, 128, 129])
async def test_json_is_nested_as_deep_as_allowed(engine, router, kit, depth):
    running = await router([await engine(kit.answers(kit.whole(b"{}")))])
    body = b'{"model": "m", "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    async with Client.connected(running.url) as client:
        answer = await client.asked(post("/v1/completions", body))
        assert answer.status == (200 if depth <= 128 else 400)


async def test_an_answer_of_the_engine_may_be_of_any_size(engine, router, kit):
    body = b"x" * 20_000_000
    running = await router([await engine(kit.answers(kit.whole(body)))])
    async with Client.connected(running.url) as client:
        assert (await client.asked(CHAT)).body == body


@pytest.mark.parametrize(
    "filling",
    [b"{}," * 1_000_000, b"[]," * 1_000_000, b"0," * 5_000_000, b'"a",' * 5_000_000],
    ids=["objects", "arrays", "numbers", "strings"],
)
async def test_a_body_that_would_take_many_times_its_size_in_memory_is_refused_unread(router, filling):
    running = await router()
    tracemalloc.start()
    try:
        async with Client.connected(running.url) as client:
            answer = await client.asked(post("/v1/completions", b'{"model": "m", "x": [' + filling + b"0]}"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "invalid_request")
    assert most < 8 * len(filling)


@pytest.mark.parametrize(
    "prompt", [b'"' + b"a b, c {d} " * 400_000 + b'"', b"[" + b"12345," * 1_000_000 + b"0]"], ids=["text", "tokens"]
)
async def test_the_longest_prompt_that_any_model_takes_passes(engine, router, kit, prompt):
    running = await router([await engine(kit.answers(kit.whole(b"{}")))])
    async with Client.connected(running.url) as client:
        answer = await client.asked(post("/v1/completions", b'{"model": "m", "prompt": ' + prompt + b"}"))
    assert answer.status == 200


async def test_a_body_that_nobody_reads_is_not_held(router, kit):
    running = await router()
    body = b"x" * 1_000_000
    tracemalloc.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                client = await stack.enter_async_context(Client.connected(running.url))
                await client.send(post("/nothing", body)[:-1])
            await kit.until(lambda: len(running.data_path.edge.connections) == 20, "all are connected")
            assert (await client.asked(b"x")).status == 404
            held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10 * len(body)
