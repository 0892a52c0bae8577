"""Log probabilities of generated tokens."""

from math import exp
from typing import Any

import openai
import pytest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]


async def test_the_openai_client_reads_log_probabilities_of_a_chat(mock: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", timeout=10) as api:
        whole = await api.chat.completions.create(
            model="mock", messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=3
        )
    choice = whole.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    assert len(tokens) == 4
    for token in tokens:
        assert bytes(token.bytes or ()) == token.token.encode()
        assert token.top_logprobs[0].token == token.token
        assert token.top_logprobs[0].logprob == token.logprob
        assert sum(exp(top.logprob) for top in token.top_logprobs) <= 1


@pytest.mark.parametrize("top", [0, 1, 20])
async def test_as_many_alternatives_come_as_were_asked_for(mock: Any, top: int) -> None:
    _, whole = await mock.post(CHAT, {"messages": HELLO, "max_tokens": 2, "logprobs": True, "top_logprobs": top})
    for token in whole["choices"][0]["logprobs"]["content"]:
        assert len({entry["token"] for entry in token["top_logprobs"]}) == top


async def test_a_streamed_chat_gives_each_token_its_own(mock: Any) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "logprobs": True, "top_logprobs": 2}
    _, whole = await mock.post(CHAT, body)
    streamed = await mock.stream(CHAT, **body)
    entries = [chunk.data["choices"][0]["logprobs"]["content"] for chunk in streamed.token_chunks]
    assert [entry for (entry,) in entries] == whole["choices"][0]["logprobs"]["content"]


async def test_completions_have_them_in_lists_by_kind(mock: Any) -> None:
    body = {"prompt": "x", "max_tokens": 3, "logprobs": 2}
    _, whole = await mock.post(COMPLETIONS, body)
    choice = whole["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["text_offset"] == [0, 4, 8]
    assert [len(top) for top in logprobs["top_logprobs"]] == [2, 2, 2]
    assert all(
        top[token] == value
        for top, token, value in zip(
            logprobs["top_logprobs"], logprobs["tokens"], logprobs["token_logprobs"], strict=True
        )
    )
    streamed = await mock.stream(COMPLETIONS, **body)
    chunks = [chunk.data["choices"][0]["logprobs"] for chunk in streamed.chunks]
    for kind, values in logprobs.items():
        assert [value for chunk in chunks for value in chunk[kind]] == values


async def test_zero_alternatives_of_a_completion_are_the_token_itself(mock: Any) -> None:
    _, whole = await mock.post(COMPLETIONS, {"prompt": "x", "max_tokens": 1, "logprobs": 0})
    logprobs = whole["choices"][0]["logprobs"]
    assert list(logprobs["top_logprobs"][0]) == logprobs["tokens"]


async def test_without_being_asked_for_they_are_null(mock: Any) -> None:
    _, whole = await mock.post(CHAT, {"messages": HELLO, "max_tokens": 1})
    assert whole["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("path", "body", "param", "message"),
    [
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "logprobs", "greater than max allowed: 20"),
        (CHAT, {"logprobs": True, "top_logprobs": -1}, "top_logprobs", "must not be negative"),
        (CHAT, {"top_logprobs": 2}, "top_logprobs", "`logprobs` must be set to true"),
        (COMPLETIONS, {"logprobs": 21}, "logprobs", "greater than max allowed: 20"),
    ],
)
async def test_numbers_that_no_engine_gives_are_refused(
    mock: Any, path: str, body: dict[str, Any], param: str, message: str
) -> None:
    status, answer = await mock.post(path, {"messages": HELLO, "prompt": "x", **body})
    assert (status, answer["error"]["param"]) == (400, param)
    assert message in answer["error"]["message"]
