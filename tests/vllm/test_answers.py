"""What vLLM answers, byte for byte, through the router: every path that it serves, whole and streamed, good and refused."""

import asyncio
from typing import Any

import pytest
from both_sides import Answer, assert_same

MODEL = {"model": "tiny"}
GREEDY = {"temperature": 0, "seed": 7}
CHAT = MODEL | {"messages": [{"role": "user", "content": "Tell me a story."}]}
PROMPT = MODEL | {"prompt": "Once upon a time"}
INPUT = MODEL | {"input": "Tell me a story."}
STREAM = {"stream": True}
USAGE = {"stream_options": {"include_usage": True}}
TOOL = {"name": "lamp", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}}
CALL = {
    "tools": [{"type": "function", "function": TOOL}],
    "tool_choice": {"type": "function", "function": {"name": "lamp"}},
}

GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT | GREEDY | {"max_tokens": 40}),
    "chat, streamed": ("/v1/chat/completions", CHAT | GREEDY | STREAM | {"max_tokens": 40}),
    "chat, streamed with usage": ("/v1/chat/completions", CHAT | GREEDY | STREAM | USAGE | {"max_tokens": 40}),
    "chat, drawn by a seed": ("/v1/chat/completions", CHAT | {"seed": 7, "max_tokens": 40}),
    "chat by another name of the model": ("/v1/chat/completions", CHAT | GREEDY | {"model": "small", "max_tokens": 4}),
    "chat with log probabilities": (
        "/v1/chat/completions",
        CHAT | GREEDY | {"max_tokens": 8, "logprobs": True, "top_logprobs": 3},
    ),
    "chat, two answers": ("/v1/chat/completions", CHAT | {"seed": 7, "n": 2, "max_tokens": 8}),
    "chat that has to call a tool": ("/v1/chat/completions", CHAT | GREEDY | CALL | {"max_tokens": 60}),
    "chat that has to call a tool, streamed": (
        "/v1/chat/completions",
        CHAT | GREEDY | CALL | STREAM | {"max_tokens": 60},
    ),
    "chat with a field that the router does not know": (
        "/v1/chat/completions",
        CHAT | GREEDY | {"max_tokens": 4, "return_token_ids": True},
    ),
    "completion": ("/v1/completions", PROMPT | GREEDY | {"max_tokens": 40}),
    "completion, streamed": ("/v1/completions", PROMPT | GREEDY | STREAM | USAGE | {"max_tokens": 40}),
    "completion of two prompts": ("/v1/completions", PROMPT | GREEDY | {"prompt": ["Once", "Twice"], "max_tokens": 8}),
    "completion of tokens": ("/v1/completions", PROMPT | GREEDY | {"prompt": [300, 301, 302], "max_tokens": 8}),
    "completion with log probabilities": ("/v1/completions", PROMPT | GREEDY | {"max_tokens": 8, "logprobs": 3}),
    "response": ("/v1/responses", INPUT | GREEDY | {"max_output_tokens": 40}),
    "response, streamed": ("/v1/responses", INPUT | GREEDY | STREAM | {"max_output_tokens": 40}),
    "message": ("/v1/messages", CHAT | {"temperature": 0, "max_tokens": 40}),
    "message, streamed": ("/v1/messages", CHAT | STREAM | {"temperature": 0, "max_tokens": 40}),
    "tokens of a message": ("/v1/messages/count_tokens", CHAT),
    "tokens of a prompt": ("/tokenize", PROMPT | {"return_token_strs": True}),
    "tokens of a chat": ("/tokenize", CHAT),
    "text of tokens": ("/detokenize", MODEL | {"tokens": [300, 301, 302]}),
}

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat longer than the context": ("/v1/chat/completions", CHAT | {"max_tokens": 80_000}),
    "chat with a temperature in words": ("/v1/chat/completions", CHAT | {"temperature": "hot"}),
    "chat, streamed, longer than the context": ("/v1/chat/completions", CHAT | STREAM | {"max_tokens": 80_000}),
    "chat of a model that vLLM does not have": ("/v1/chat/completions", CHAT | {"model": "huge"}),
    "completion without a prompt": ("/v1/completions", MODEL),
    "response without input": ("/v1/responses", MODEL),
    "message without a length": ("/v1/messages", CHAT),
    "tokens of nothing": ("/tokenize", MODEL),
    "embedding of a model that generates": ("/v1/embeddings", INPUT),
}


@pytest.fixture
def ask(session: Any) -> Any:
    async def send(url: str, body: dict[str, Any]) -> Answer:
        async with session.post(url, json=body, headers={"x-request-id": "asked"}) as answer:
            return Answer(answer.status, answer.headers["content-type"], await answer.read())

    return send


async def both(ask: Any, vllm: str, router: Any, case: tuple[str, dict[str, Any]]) -> Answer:
    path, body = case
    direct = await ask(vllm + path, body)
    routed: Answer = await ask(router.url + path, body)
    assert_same(direct, routed)
    return routed


@pytest.mark.parametrize("name", GOOD)
async def test_an_answer_is_vllms(ask, vllm, router, name):
    assert (await both(ask, vllm, router, GOOD[name])).status == 200


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_vllms(ask, vllm, router, name):
    assert (await both(ask, vllm, router, REFUSED[name])).status in {400, 404, 422}


async def test_answers_to_many_at_once_are_those_that_each_would_get_alone(ask, vllm, router):
    bodies = [PROMPT | GREEDY | {"prompt": f"Chapter {number}", "max_tokens": 30} for number in range(12)]
    alone = [await ask(vllm + "/v1/completions", body) for body in bodies]
    together = await asyncio.gather(*(ask(router.url + "/v1/completions", body) for body in bodies))
    assert len({answer.body for answer in together}) == len(bodies)
    for direct, routed in zip(alone, together, strict=True):
        assert_same(direct, routed)


async def test_the_client_s_request_id_is_the_one_that_vllm_answers_with(ask, router):
    answer = await ask(router.url + "/v1/chat/completions", CHAT | {"max_tokens": 1})
    assert b'"id":"chatcmpl-asked"' in answer.body
