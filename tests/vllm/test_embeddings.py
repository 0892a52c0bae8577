"""Embeddings, rerank and score of a vLLM that makes embeddings, through the router."""

from typing import Any

import pytest
from both_sides import Answer, assert_same

MODEL = {"model": "tiny"}
RERANK = MODEL | {"query": "rain", "documents": ["the sun", "the rain", "rain and sun"]}
SCORE = MODEL | {"text_1": "rain", "text_2": ["sun", "rain"]}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "embedding": ("/v1/embeddings", MODEL | {"input": "a text"}),
    "embeddings of several texts": ("/v1/embeddings", MODEL | {"input": ["a text", "another"]}),
    "embedding in base64": ("/v1/embeddings", MODEL | {"input": "a text", "encoding_format": "base64"}),
    "embeddings that are long": ("/v1/embeddings", MODEL | {"input": [f"text {number}" for number in range(200)]}),
    "rerank": ("/v1/rerank", RERANK),
    "rerank without a version": ("/rerank", RERANK),
    "score": ("/v1/score", SCORE),
    "score without a version": ("/score", SCORE),
    "tokens": ("/tokenize", MODEL | {"prompt": "a text"}),
}


async def asked(session: Any, url: str, body: dict[str, Any]) -> Answer:
    async with session.post(url, json=body) as answer:
        return Answer(answer.status, answer.headers["content-type"], await answer.read())


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_is_vllms(session, embedding_vllm, embedding_router, name):
    path, body = CASES[name]
    routed = await asked(session, embedding_router.url + path, body)
    assert_same(await asked(session, embedding_vllm + path, body), routed)
    assert routed.status == 200


async def test_openais_client_reads_embeddings(with_openai_embedding):
    answer = await with_openai_embedding.ask(lambda c: c.embeddings.create(model="tiny", input=["rain", "rain", "sun"]))
    rain, again, sun = (each.embedding for each in answer.data)
    assert len(rain) == 128
    assert rain == pytest.approx(again)
    assert rain != pytest.approx(sun)


async def test_a_chat_is_refused_as_vllm_refuses_it(session, embedding_vllm, embedding_router):
    body = MODEL | {"messages": [{"role": "user", "content": "Hello"}]}
    routed = await asked(session, embedding_router.url + "/v1/chat/completions", body)
    assert_same(await asked(session, embedding_vllm + "/v1/chat/completions", body), routed)
    assert routed.status >= 400
