"""Requests without a client library: every relayed path, and paths under `/v1/` that the router does not know."""

import io
from typing import Any

import aiohttp
import pytest

from fairlead_router.relay.routes import ROUTES

MODEL = {"model": "mock"}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
RERANK = {"query": "rain", "documents": ["the sun", "the rain", "rain and sun"]}
SCORE = {"text_1": "rain", "text_2": ["sun", "rain"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": MODEL | CHAT,
    "/v1/completions": MODEL | {"prompt": "Once"},
    "/v1/responses": MODEL | {"input": "Hello", "max_output_tokens": 4},
    "/v1/messages": MODEL | CHAT,
    "/v1/messages/count_tokens": MODEL | CHAT,
    "/v1/embeddings": MODEL | {"input": "a text"},
    "/v1/rerank": MODEL | RERANK,
    "/rerank": RERANK,
    "/v1/score": MODEL | SCORE,
    "/score": SCORE,
    "/tokenize": MODEL | {"prompt": "Hello there", "return_token_strs": True},
    "/detokenize": {"tokens": [5_516_780_908, 367]},
}
FORMS = {"/v1/audio/transcriptions": 200, "/v1/audio/translations": 404}
"""Status of the mock engine's answer: it does not translate."""


def form() -> aiohttp.MultipartWriter:
    """A form with a recording, the same bytes every time."""
    parts = aiohttp.MultipartWriter("form-data", boundary="----the-end-of-a-part")
    parts.append("mock").set_content_disposition("form-data", name="model")
    recording = parts.append(io.BytesIO(bytes(100_000)))
    recording.set_content_disposition("form-data", name="file", filename="speech.mp3")
    return parts


def test_every_relayed_path_is_asked_for_here():
    assert set(BODIES) | set(FORMS) == set(ROUTES)


@pytest.mark.parametrize("path", BODIES)
async def test_the_answer_is_the_engine_s(plain, path):
    ask = await plain()
    assert (await ask.same("POST", path, json=BODIES[path])).status == 200


@pytest.mark.parametrize(("path", "status"), FORMS.items())
async def test_the_answer_to_a_form_is_the_engine_s(plain, path, status):
    ask = await plain()
    reason = "placed" if status == 200 else "engine_error"
    assert (await ask.same("POST", path, reason, data=form)).status == status


async def test_a_form_whose_length_nobody_knows_is_passed_on_too(plain):
    async def pieces():
        yield HEAD
        for _ in range(50):
            yield bytes(2_000)
        yield END

    ask = await plain()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert (await ask.same("POST", "/v1/audio/transcriptions", data=pieces, headers=headers)).status == 200


HEAD = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nmock\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="speech.mp3"\r\n\r\n'
)
END = b"\r\n--b--\r\n"


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/score", "/v1/score", "/tokenize", "/detokenize"])
async def test_an_engine_s_refusal_is_relayed(plain, path):
    ask = await plain()
    assert (await ask.same("POST", path, "engine_error", json=MODEL)).status == 400


async def test_a_query_string_reaches_the_engine(plain):
    ask = await plain()
    assert (await ask.same("POST", "/v1/chat/completions?beta=true&x=%20", json=MODEL | CHAT)).status == 200


async def test_a_client_that_takes_compressed_answers_gets_the_plain_one(plain):
    ask = await plain()
    headers = {"accept-encoding": "gzip, br"}
    assert (await ask.same("POST", "/v1/chat/completions", json=MODEL | CHAT, headers=headers)).status == 200
