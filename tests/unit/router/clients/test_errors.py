"""What goes wrong reaches the clients as the exceptions that their users know."""

from typing import Any

import anthropic
import openai
import pytest

from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, hash_of

MESSAGES = [{"role": "user", "content": "Hello"}]
CHAT: dict[str, Any] = {"model": "mock", "messages": MESSAGES}
UNKNOWN = "unheard-of"
KEY = b"fl-a-key-of-tests"

CHAT_EVENTS = [b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n']
RESPONSE_EVENTS = [
    b'event: response.created\ndata: {"type":"response.created","response":{"output":[]},"sequence_number":0}\n\n'
]
MESSAGE_EVENTS = [
    b'event: message_start\ndata: {"type":"message_start","message":{"content":[],"usage":{"input_tokens":1}}}\n\n'
]


async def listed(stream: Any) -> list[Any]:
    return [event async for event in await stream]


# Refused by the engine: relayed as it is.


async def test_the_engine_does_not_know_the_model(with_openai, with_anthropic):
    chat = CHAT | {"model": UNKNOWN}
    await with_openai.refused(lambda c: c.chat.completions.create(**chat), openai.NotFoundError)
    await with_openai.refused(lambda c: listed(c.chat.completions.create(**chat, stream=True)), openai.NotFoundError)
    await with_openai.refused(lambda c: c.embeddings.create(model=UNKNOWN, input="x"), openai.NotFoundError)
    await with_openai.refused(lambda c: c.responses.create(model=UNKNOWN, input="x"), openai.NotFoundError)
    await with_anthropic.refused(lambda c: c.messages.create(**chat, max_tokens=1), anthropic.NotFoundError)
    await with_anthropic.refused(lambda c: c.messages.count_tokens(**chat), anthropic.NotFoundError)


async def test_the_engine_refuses_a_value(with_openai, with_anthropic):
    error = await with_openai.refused(lambda c: c.chat.completions.create(**CHAT, n=0), openai.BadRequestError)
    assert error.param == "n"
    await with_openai.refused(lambda c: c.responses.create(model="mock", input=""), openai.BadRequestError)
    await with_openai.refused(
        lambda c: c.audio.transcriptions.create(model="mock", file=("a.wav", b""), response_format="srt"),
        openai.BadRequestError,
    )
    await with_anthropic.refused(lambda c: c.messages.create(**CHAT, max_tokens=0), anthropic.BadRequestError)


async def test_the_engine_has_no_such_response(with_openai):
    await with_openai.refused(
        lambda c: c.responses.create(model="mock", input="x", previous_response_id="resp_1"), openai.NotFoundError
    )


# Refused by the router: in the shape of the API that the client speaks.


async def test_the_pool_does_not_serve_the_model(route):
    url = (await route(models=("mock",))).url
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="use one of: mock") as refused:
            await client.chat.completions.create(**CHAT | {"model": UNKNOWN})
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(UNKNOWN)
        assert (await client.models.retrieve("mock")).id == "mock"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as speaker:
        with pytest.raises(anthropic.NotFoundError) as not_found:
            await speaker.messages.create(**CHAT | {"model": UNKNOWN}, max_tokens=1)
        assert not_found.value.type == "not_found_error"


async def test_a_body_without_a_model_is_refused(route):
    url = (await route()).url
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**CHAT | {"model": None})
    assert (refused.value.code, refused.value.param) == ("invalid_request", "model")
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as speaker:
        with pytest.raises(anthropic.BadRequestError) as bad:
            await speaker.messages.create(**CHAT | {"model": None}, max_tokens=1)
    assert bad.value.type == "invalid_request_error"


@pytest.fixture
async def guarded_url(route):
    """A router that asks for a key."""
    running = await route()
    running.router.gate = Gate(KeyRing.from_yaml(f"keys: [{{name: a, hash: '{hash_of(KEY)}'}}]"))
    return running.url


async def test_openais_client_is_let_in_with_its_key_only(guarded_url):
    async with openai.AsyncOpenAI(base_url=guarded_url + "/v1", api_key=KEY.decode(), max_retries=0) as client:
        assert (await client.chat.completions.create(**CHAT, max_tokens=2)).usage
        assert (await client.models.list()).data
        stranger = client.with_options(api_key="sk-other")
        for call in (
            stranger.chat.completions.create(**CHAT),
            stranger.chat.completions.create(**CHAT, stream=True),
            stranger.audio.transcriptions.create(model="mock", file=("a.wav", b"x")),
            listed(stranger.models.list()),
            listed(stranger.files.list()),
        ):
            with pytest.raises(openai.AuthenticationError) as refused:
                await call
            assert refused.value.code == "invalid_api_key"


async def test_anthropics_client_is_let_in_with_its_key_only(guarded_url):
    async with anthropic.AsyncAnthropic(base_url=guarded_url, api_key=KEY.decode(), max_retries=0) as client:
        assert (await client.messages.create(**CHAT, max_tokens=2)).content
        assert (await client.models.list()).data
        stranger = client.with_options(api_key="sk-other")
        for call in (
            stranger.messages.create(**CHAT, max_tokens=2),
            stranger.messages.create(**CHAT, max_tokens=2, stream=True),
            stranger.messages.count_tokens(**CHAT),
            listed(stranger.models.list()),
        ):
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await call
            assert refused.value.type == "authentication_error"


async def test_a_pool_without_engines_is_a_server_error_that_may_be_tried_again(router):
    url = (await router([])).url
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(**CHAT)
    assert (refused.value.status_code, refused.value.code) == (503, "no_endpoint")
    assert refused.value.response.headers["retry-after"] == "5"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as speaker:
        with pytest.raises(anthropic.APIStatusError) as busy:
            await speaker.messages.create(**CHAT, max_tokens=1)
    assert (busy.value.status_code, busy.value.type) == (503, "overloaded_error")


# Broken in the middle: the engine is lost, or says so itself.


async def failing_stream(route, engine, kit, events, call):
    """What a client gets of a stream whose engine is lost behind `events`, and the exception that ends it."""
    lost = await engine(kit.answers_then_closes(kit.STREAM_HEAD, *map(kit.chunk, events)))
    stream = aiter(await call((await route(lost)).url))
    for _ in events:
        await anext(stream)
    with pytest.raises((openai.APIError, anthropic.APIError)) as ended:
        await anext(stream)
    return ended.value


@pytest.mark.parametrize(
    ("events", "call"),
    [
        (CHAT_EVENTS, lambda c: c.chat.completions.create(**CHAT, stream=True)),
        (CHAT_EVENTS, lambda c: c.completions.create(model="mock", prompt="x", stream=True)),
        (RESPONSE_EVENTS, lambda c: c.responses.create(model="mock", input="x", stream=True)),
    ],
    ids=["chat", "completion", "response"],
)
async def test_openais_client_raises_when_an_engine_is_lost_inside_a_stream(route, engine, kit, events, call):
    async with openai.AsyncOpenAI(base_url="http://unset", api_key="x", max_retries=0) as client:
        error = await failing_stream(
            route, engine, kit, events, lambda url: call(client.with_options(base_url=url + "/v1"))
        )
    assert isinstance(error, openai.APIError)
    assert error.code == "engine_disconnected"


async def test_anthropics_client_raises_when_an_engine_is_lost_inside_a_stream(route, engine, kit):
    async with anthropic.AsyncAnthropic(base_url="http://unset", api_key="x", max_retries=0) as client:

        async def call(url):
            return await client.with_options(base_url=url).messages.create(**CHAT, max_tokens=9, stream=True)

        error = await failing_stream(route, engine, kit, MESSAGE_EVENTS, call)
    assert isinstance(error, anthropic.APIStatusError)
    assert error.type == "api_error"


async def test_an_error_of_the_engine_s_own_inside_a_stream_is_relayed(route, engine, kit):
    event = kit.event(error={"message": "out of memory", "type": "server_error", "code": 500, "param": None})
    failing = await engine(kit.streams(*CHAT_EVENTS, event, kit.DONE))
    url = (await route(failing)).url
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="out of memory"):
            await listed(client.chat.completions.create(**CHAT, stream=True))
