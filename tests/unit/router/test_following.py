"""Keys and certificates that a configuration points to, in a router that runs."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from fairlead_router.config import Auth, EngineTls, RouterConfig, ServiceClass, Tls
from fairlead_router.following import check_files
from fairlead_router.identity.keys import hash_of

KEY, OTHER = "fl-the-key-of-team-a", "fl-the-key-of-team-b"


def entry(name: str, key: str, **fields: object) -> str:
    more = "".join(f", {field}: {value}" for field, value in fields.items())
    return f"- {{name: {name}, hash: '{hash_of(key.encode())}'{more}}}\n"


def keys_file(folder: Path, *entries: str) -> Path:
    path = folder / "keys.yaml"
    path.write_text("keys:\n" + "".join(entries))
    return path


def bearer(key: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}


async def eventually(asked: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(5):
        while not await asked():  # noqa: ASYNC110 - a file that is followed has no event
            await asyncio.sleep(0.02)


@pytest.fixture
def secured(router, engine, kit, tmp_path):
    """Start a router with keys in front of one engine."""

    async def start(*entries: str, **config: object):
        path = keys_file(tmp_path, *entries)
        scripted = await engine(kit.answers(kit.whole(b"{}")))
        running = await router([scripted], RouterConfig(auth=Auth(keys_file=str(path)), **config))
        await kit.until(lambda: not running.router.awaited, "the keys are read")
        return running, scripted

    return start


PATHS = ["/v1/chat/completions", "/v1/models", "/v1/unheard-of", "/docs", "/openapi.json", "/"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_needs_a_key(secured, path):
    running, scripted = await secured(entry("a", KEY))
    for headers in ({}, bearer(OTHER)):
        status, body, answered = await running.asked(path=path, headers=headers)
        assert (status, answered["x-fairlead-reason"]) == (401, "invalid_api_key")
        assert answered["www-authenticate"] == "Bearer"
        assert OTHER.encode() not in body
    assert scripted.requests == []


@pytest.mark.parametrize("headers", [bearer(KEY), {"x-api-key": KEY}, {"api-key": KEY}])
async def test_a_key_lets_its_requests_through_and_ends_at_the_router(secured, headers):
    running, scripted = await secured(entry("a", KEY))
    status, _, _ = await running.asked(headers=headers)
    assert status == 200
    assert not {"authorization", "x-api-key", "api-key"} & scripted.requests[0].headers.keys()
    assert KEY not in str(scripted.requests[0])


async def test_identity_headers_reach_the_engine_only_from_a_trusted_key(secured):
    running, scripted = await secured(entry("a", KEY), entry("gw", OTHER, trusted="true"))
    for key in (KEY, OTHER):
        await running.asked(headers=bearer(key, x_fairlead_tenant="t", x_llm_d_inference_objective="vip"))
    untrusted, trusted = (request.headers for request in scripted.requests)
    assert not {"x-fairlead-tenant", "x-llm-d-inference-objective"} & untrusted.keys()
    assert (trusted["x-fairlead-tenant"], trusted["x-llm-d-inference-objective"]) == ("t", "vip")


async def test_an_objective_of_a_gateway_is_the_class_of_that_name(secured):
    classes = (ServiceClass(name="interactive", default=True), ServiceClass(name="batch"))
    running, _ = await secured(entry("a", KEY), entry("gw", OTHER, trusted="true"), classes=classes)
    for key, objective in ((KEY, "batch"), (OTHER, "batch"), (OTHER, "unheard-of")):
        await running.asked(headers=bearer(key, x_llm_d_inference_objective=objective))
    assert running.ended("completed", class_="batch") == 1, "of a key that is not trusted nothing is believed"
    assert running.ended("completed", class_="interactive") == 2
    await running.asked(headers=bearer(OTHER, x_slo_class="interactive", x_llm_d_inference_objective="batch"))
    assert running.ended("completed", class_="interactive") == 3, "our own header comes first"


async def test_a_tenant_is_held_to_its_quota_of_a_class(secured):
    classes = (ServiceClass(name="interactive", default=True), ServiceClass(name="batch"))
    quota = "{batch: {requestsPerMinute: 2}}"
    running, scripted = await secured(entry("a", KEY, quotas=quota), entry("b", OTHER), classes=classes)
    answers = [await running.asked(headers=bearer(KEY, x_slo_class="batch")) for _ in range(3)]
    assert [(status, answered["x-fairlead-reason"]) for status, _, answered in answers] == [
        (200, "placed"), (200, "placed"), (429, "quota_exceeded"),
    ]  # fmt: skip
    assert 25 <= int(answers[2][2]["retry-after"]) <= 30
    assert (await running.asked(headers=bearer(KEY)))[0] == 200, "of another class it may have more"
    assert (await running.asked(headers=bearer(OTHER, x_slo_class="batch")))[0] == 200, "and so may others of this one"
    assert len(scripted.requests) == 4


async def test_a_key_is_held_to_its_classes_and_models(secured):
    classes = (ServiceClass(name="interactive", default=True), ServiceClass(name="batch"))
    running, scripted = await secured(entry("a", KEY, classes="[batch]", models="[small]"), classes=classes)
    asked = {"model": "small"}
    assert (await running.asked(body=asked, headers=bearer(KEY)))[0] == 200
    assert running.ended("completed", class_="batch") == 1, "its own class is its default"
    status, _, answered = await running.asked(body=asked, headers=bearer(KEY, x_slo_class="interactive"))
    assert (status, answered["x-fairlead-reason"]) == (403, "class_not_allowed")
    status, _, answered = await running.asked(body={"model": "large"}, headers=bearer(KEY))
    assert (status, answered["x-fairlead-reason"]) == (403, "model_not_allowed")
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/tokenizer_info"])
async def test_a_key_that_is_limited_to_models_does_not_get_around_it_where_the_model_cannot_be_seen(secured, path):
    running, scripted = await secured(entry("a", KEY, models="[small]"), passthrough=True)
    status, _, answered = await running.asked(path=path, headers=bearer(KEY))
    assert (status, answered["x-fairlead-reason"]) == (403, "model_not_allowed")
    assert scripted.requests == []


async def test_a_key_can_be_taken_back_while_its_stream_goes_on(router, engine, kit, tmp_path):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    path = keys_file(tmp_path, entry("a", KEY))
    running = await router([await engine(script)], RouterConfig(auth=Auth(keys_file=str(path))))
    await kit.until(lambda: not running.router.awaited, "the keys are read")
    async with running.post(headers=bearer(KEY)) as stream:
        await stream.content.readany()
        keys_file(tmp_path, entry("b", OTHER))

        async def refused() -> bool:
            return (await running.asked(path="/v1/models", headers=bearer(KEY)))[0] == 401

        await eventually(refused)
        go_on.set()
        assert kit.DONE in await stream.content.read()


async def test_keys_that_cannot_be_read_let_nobody_in_and_keep_the_router_from_being_ready(router, kit, tmp_path):
    path = tmp_path / "later" / "keys.yaml"
    running = await router(config=RouterConfig(auth=Auth(keys_file=str(path))))
    assert running.router.not_ready_because() == ["API keys not read"]
    assert (await running.asked(headers=bearer(KEY)))[0] == 401
    await kit.until(lambda: running.sample("fairlead_router_config_errors_total") == 1, "it is counted")
    path.parent.mkdir()
    keys_file(path.parent, entry("a", KEY))
    await kit.until(lambda: running.router.not_ready_because() == [], "ready")
    assert (await running.asked(path="/v1/models", headers=bearer(KEY)))[0] != 401


async def test_keys_come_and_go_with_the_configuration(router, kit, tmp_path):
    path = keys_file(tmp_path, entry("a", KEY))
    running = await router()
    assert (await running.asked(path="/v1/unheard-of"))[0] == 404
    running.router.apply(RouterConfig(auth=Auth(keys_file=str(path))))
    assert (await running.asked(path="/v1/unheard-of"))[0] == 401
    await kit.until(lambda: not running.router.awaited, "the keys are read")
    assert (await running.asked(path="/v1/unheard-of", headers=bearer(KEY)))[0] == 404
    running.router.apply(RouterConfig())
    assert (await running.asked(path="/v1/unheard-of"))[0] == 404


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.asynccontextmanager
async def tls_engine(authority: trustme.CA, answer: bytes):
    """An engine that speaks TLS; gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_an_engine_is_reached_by_tls_and_believed_only_by_its_authority(router, kit, tmp_path, authority):
    ca = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(ca)
    async with tls_engine(authority, kit.whole(b"{}")) as address:
        running = await router([address], RouterConfig(engine_tls=EngineTls(ca=str(ca))))
        status, _, answered = await running.asked(body=b"{}", path="/tokenize")
        assert (status, answered["x-fairlead-reason"]) == (502, "engine_unreachable")
        authority.cert_pem.write_to_path(ca)

        async def reached() -> bool:
            return (await running.asked(body=b"{}", path="/tokenize"))[0] == 200

        await eventually(reached)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RouterConfig(auth=Auth(keys_file="/nowhere/k")), r"auth\.keysFile: cannot read /nowhere/k: No such file"),
        (RouterConfig(auth=Auth(keys_file=__file__)), r"auth\.keysFile: .*test_following\.py: not YAML"),
        (
            RouterConfig(tls=Tls(certificate="/nowhere/c", key="/nowhere/k")),
            r"tls\.certificate: cannot read /nowhere/c",
        ),
        (RouterConfig(engine_tls=EngineTls(ca="/nowhere/ca")), r"engineTls\.ca: cannot read /nowhere/ca"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_their_field(config, message):
    with pytest.raises(ValueError, match=message):
        check_files(config)
