"""Paths under `/v1/` that the router does not know: refused, or, with `passthrough: true`, an engine's to answer."""

import json

import pytest
import yarl

EVENTS = [b'data: {"step": 1}\n\n', b"event: progress\ndata: {}\n\n", b": a comment\n\n"]
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
FORM = b'--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n\x00\xff\r\n--b--\r\n'


@pytest.fixture
async def through(route, engine, kit):
    """A router that passes unknown paths through to a scripted engine."""

    async def start(script):
        scripted = await engine(script)
        return await route(scripted, passthrough=True), scripted

    return start


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/files"), ("POST", "/v1/files"), ("DELETE", "/v1/files/1")])
async def test_without_it_an_unknown_path_is_refused(plain, method, path):
    ask = await plain()
    answer = await ask.routed(method, path)
    assert (answer.status, answer.reason) == (404, "not_found")
    assert json.loads(answer.body)["error"]["code"] == "not_found"


async def test_with_it_the_engine_answers(plain):
    ask = await plain(passthrough=True)
    found = await ask.same("POST", "/v1/load_lora_adapter", "engine_error", json={"lora_name": "x"})
    assert found.status == 400
    assert (await ask.same("GET", "/v1/responses/resp_1", "engine_error")).status == 404


async def test_other_paths_are_refused_all_the_same(plain):
    ask = await plain(passthrough=True)
    for path in ("/metrics", "/admin/requests", "/v2/rerank", "/v1"):
        assert (await ask.routed("GET", path)).status == 404


async def test_models_stay_the_router_s(plain):
    ask = await plain(passthrough=True, models=("mock",))
    for path in ("/v1/models", "/v1/models/mock"):
        answer = await ask.routed("GET", path)
        assert (answer.status, answer.engine) == (200, None)


async def test_a_get_passes_with_its_query_and_without_a_body(through, kit):
    router, engine = await through(kit.answers(kit.whole(b'{"files": []}')))
    async with router.session.get(yarl.URL(router.url + "/v1/files?limit=2&after=%2Fa", encoded=True)) as answer:
        assert (answer.status, await answer.read()) == (200, b'{"files": []}')
    (received,) = engine.requests
    assert received.line == "GET /v1/files?limit=2&after=%2Fa HTTP/1.1"
    assert received.body == b""
    assert "content-length" not in received.headers


async def test_a_form_passes_byte_for_byte(through, kit):
    router, engine = await through(kit.answers(kit.whole(b"{}")))
    status, body, _ = await router.asked(body=FORM, path="/v1/files", headers=MULTIPART)
    assert (status, body) == (200, b"{}")
    (received,) = engine.requests
    assert received.body == FORM
    assert received.headers["content-type"] == MULTIPART["content-type"]


async def test_a_stream_of_unknown_events_passes_byte_for_byte(through, kit):
    router, _ = await through(kit.streams(*EVENTS))
    status, body, headers = await router.asked(body=b"{}", path="/v1/batches/1/watch")
    assert (status, body) == (200, b"".join(EVENTS))
    assert headers["content-type"].startswith("text/event-stream")


async def test_an_answer_without_a_body_passes(through, kit):
    router, _ = await through(kit.answers(kit.head("204 No Content")))
    async with router.session.delete(router.url + "/v1/files/1") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
