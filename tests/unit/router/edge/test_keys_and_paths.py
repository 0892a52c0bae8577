"""Keys are checked once, before relayed requests and all others part, and of a path only one spelling is looked at."""

import json
from hashlib import sha256

import pytest
from wire import Client, get, post

from fairlead_router.config import RouterConfig
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, Principal

KEY = "sk-known"
WHOLE = b'{"id": "1"}'

HOT = [
    "/v1/chat/completions",
    "//v1/chat/completions",
    "/v1//chat///completions",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "/./v1/chat/completions",
    "/v1/./chat/completions/.",
    "/v1/x/../chat/completions",
    "/health/../v1/chat/completions",
    "/health/%2e%2e/v1/chat/completions",
    "/v1/chat/%63ompletions",
    "/v1/x/%2e%2e/chat/completions",
    "/v1/x/.%2E/chat/completions",
    "http://x/v1/chat/completions",
    "http://x//v1/./chat/completions/",
    "HTTP://health/v1/chat/completions",
]
COLD = [
    "/v1/models",
    "//v1/models",
    "/v1/models/",
    "/v1/./models",
    "/v1/x/../models",
    "/v1/x/%2e%2e/models",
    "/ready/../v1/models",
    "/health/%2e%2e/v1/models",
    "/v1/%6dodels",
    "http://x/v1/models",
    "https://health/v1/models",
    "/health;/../v1/models",
]
ELSEWHERE = [
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/V1/MODELS",
    "/v1/chat%2fcompletions",
    "/v1%2Fmodels",
    "/v1/chat/completions;x",
    "/v1/chat/completions%20",
    "/v1/chat/completions%00",
    "/v1/%252e%252e/health",
    "/HEALTH",
    "/health%2f",
    "/health%2f..%2fv1%2fmodels",
    "/docs",
    "/openapi.json",
    "/",
    "/nothing",
]
OUTSIDE = ["/..", "/../v1/models", "/v1/../../health", "/%2e%2e/health", "/health#x", "/health%", "/health%zz", "*"]


@pytest.fixture
async def locked(engine, router, kit):
    """A router with one key, before one engine."""
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted], RouterConfig(models=("m",)))
    running.router.gate = Gate(KeyRing([(sha256(KEY.encode()).digest(), Principal(name="k", tenant="t"))]))
    running.engine = scripted
    return running


def both(path: str, *fields: str) -> list[tuple[str, bytes]]:
    return [("GET", get(path, *fields)), ("POST", post(path, b'{"model": "m"}', *fields))]


@pytest.mark.parametrize("path", [*HOT, *COLD, *ELSEWHERE])
async def test_without_a_key_every_spelling_of_every_path_is_a_401(locked, path):
    for _, request in [*both(path), *both(path + "?a=b"), *both(path, "authorization: Bearer sk-unknown")]:
        async with Client.connected(locked.url) as client:
            answer = await client.asked(request)
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, "invalid_api_key")
    assert locked.engine.requests == []


@pytest.mark.parametrize("path", OUTSIDE)
async def test_what_is_no_path_is_refused_with_or_without_a_key(locked, path):
    for _, request in [*both(path), *both(path, f"authorization: Bearer {KEY}")]:
        async with Client.connected(locked.url) as client:
            assert (await client.asked(request)).status == 400
    assert locked.engine.requests == []


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("field", [f"authorization: Bearer {KEY}", f"x-api-key: {KEY}"], ids=["bearer", "x-api-key"])
async def test_with_a_key_a_relayed_path_is_served_and_the_engine_sees_its_one_spelling(locked, path, field):
    async with Client.connected(locked.url) as client:
        assert (await client.asked(post(path + "?a=%2e&b", b'{"model": "m"}', field))).body == WHOLE
        assert (await client.asked(get(path, field))).status == 405
    (request,) = locked.engine.requests
    assert request.line == "POST /v1/chat/completions?a=%2e&b HTTP/1.1"


@pytest.mark.parametrize("path", COLD)
async def test_with_a_key_a_path_of_the_router_itself_is_served(locked, path):
    async with Client.connected(locked.url) as client:
        answer = await client.asked(get(path, f"authorization: Bearer {KEY}"))
    assert [model["id"] for model in json.loads(answer.body)["data"]] == ["m"]


@pytest.mark.parametrize("path", [path for path in ELSEWHERE if path not in {"/docs", "/openapi.json", "/v1%2Fmodels"}])
async def test_with_a_key_what_looks_like_a_known_path_and_is_none_is_a_404(locked, path):
    async with Client.connected(locked.url) as client:
        for _, request in both(path, f"authorization: Bearer {KEY}"):
            assert (await client.asked(request)).status == 404
    assert locked.engine.requests == []


@pytest.mark.parametrize("path", ["/health", "/ready", "/health/", "//ready", "/v1/../health", "http://x/health"])
async def test_probes_need_no_key(locked, path):
    async with Client.connected(locked.url) as client:
        assert (await client.asked(get(path))).status == 200


async def test_a_key_of_one_request_does_not_let_the_next_one_in(locked):
    async with Client.connected(locked.url) as client:
        known = post("/v1/completions", b'{"model": "m"}', f"authorization: Bearer {KEY}")
        await client.send(known + post("/v1/completions") + get("/v1/models") + known)
        assert [(await client.answer()).status for _ in range(4)] == [200, 401, 401, 200]


async def test_a_key_that_is_revoked_is_refused_on_connections_that_have_used_it(locked):
    async with Client.connected(locked.url) as client:
        known = post("/v1/completions", b'{"model": "m"}', f"authorization: Bearer {KEY}")
        assert [(await client.asked(known)).status for _ in range(3)] == [200, 200, 200]
        locked.router.gate = Gate(KeyRing())
        assert (await client.asked(known)).status == 401


async def test_a_key_among_the_trailers_is_none(locked):
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b'e\r\n{"model": "m"}\r\n0\r\nauthorization: Bearer sk-known\r\n\r\n'
    async with Client.connected(locked.url) as client:
        assert (await client.asked(head + body)).status == 401


async def test_a_model_whose_name_has_a_slash_is_found_however_it_is_escaped(router):
    running = await router(config=RouterConfig(models=("org/name", "plain")))
    async with Client.connected(running.url) as client:
        for path in ("/v1/models/org/name", "/v1/models/org%2Fname", "/v1/models/org%2fname"):
            answer = await client.asked(get(path))
            assert (answer.status, json.loads(answer.body).get("id")) == (200, "org/name")
        assert (await client.asked(get("/v1/models/org%2Fother"))).status == 404
