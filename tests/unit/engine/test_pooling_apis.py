"""Embeddings, rerank and score."""

import asyncio
import base64
import struct
from math import isclose
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fairlead_engine.batch_time import Linear
from fairlead_engine.mock.embedding import DIMENSIONS, cosine, embed
from fairlead_engine.mock.settings import Settings

EMBEDDINGS = "/v1/embeddings"
RERANK = "/rerank"
SCORE = "/score"


@given(st.text(), st.integers(1, 1000))
def test_an_embedding_has_length_1_and_depends_on_the_text_alone(text: str, dimensions: int) -> None:
    vector = embed(text, dimensions)
    assert len(vector) == dimensions
    assert isclose(cosine(vector, vector), 1.0)
    assert embed(text, dimensions) == vector


def test_texts_that_share_words_are_nearer() -> None:
    query = embed("how tall is the tower")
    assert cosine(query, embed("The tower is tall.")) > cosine(query, embed("Rain falls in April.")) + 0.3


async def test_the_openai_client_reads_embeddings(mock: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", timeout=10) as api:
        packed = await api.embeddings.create(model="mock", input=["abcd", "abcdefgh"])
        plain = await api.embeddings.create(model="mock", input="abcd", encoding_format="float", dimensions=8)
    assert [entry.index for entry in packed.data] == [0, 1]
    assert [len(entry.embedding) for entry in packed.data] == [DIMENSIONS] * 2
    assert packed.data[0].embedding == pytest.approx(embed("abcd"), rel=1e-6)
    assert (packed.usage.prompt_tokens, packed.usage.total_tokens) == (3, 3)
    assert plain.data[0].embedding == pytest.approx(embed("abcd", 8))


async def test_base64_is_little_endian_floats(mock: Any) -> None:
    _, answer = await mock.post(EMBEDDINGS, {"input": "abcd", "encoding_format": "base64", "dimensions": 4})
    values = struct.unpack("<4f", base64.b64decode(answer["data"][0]["embedding"]))
    assert list(values) == pytest.approx(embed("abcd", 4))


async def test_token_ids_and_conversations_can_be_embedded(mock: Any) -> None:
    _, tokens = await mock.post("/tokenize", {"prompt": "Once upon"})
    _, by_ids = await mock.post(EMBEDDINGS, {"input": tokens["tokens"]})
    _, by_text = await mock.post(EMBEDDINGS, {"input": "Once upon"})
    assert by_ids["data"] == by_text["data"]
    status, chat = await mock.post(EMBEDDINGS, {"messages": [{"role": "user", "content": "Hello"}]})
    assert (status, chat["usage"]["prompt_tokens"]) == (200, 6)


async def test_rerank_orders_documents_by_nearness(mock: Any) -> None:
    documents = ["Rain falls in April.", "The tower is tall.", "How tall is the tower? Very."]
    body = {"query": "how tall is the tower", "documents": documents}
    _, answer = await mock.post(RERANK, body)
    scores = [result["relevance_score"] for result in answer["results"]]
    assert [result["index"] for result in answer["results"]] == [2, 1, 0]
    assert scores == sorted(scores, reverse=True)
    assert answer["results"][0]["document"]["text"] == documents[2]
    assert answer["usage"]["total_tokens"] == sum(-(-len(text) // 4) for text in [body["query"], *documents])
    for path in ("/v1/rerank", "/v2/rerank"):
        _, cut = await mock.post(path, body | {"top_n": 2})
        assert cut["results"] == answer["results"][:2]


@pytest.mark.parametrize(
    ("names", "path"),
    [(("text_1", "text_2"), SCORE), (("queries", "documents"), "/v1/score"), (("data_1", "data_2"), SCORE)],
)
async def test_scores_come_for_one_with_many(mock: Any, names: tuple[str, str], path: str) -> None:
    _, answer = await mock.post(path, {names[0]: "red house", names[1]: ["red house", "red car", "x"]})
    scores = [entry["score"] for entry in answer["data"]]
    assert isclose(scores[0], 1.0)
    assert scores[0] > scores[1] > scores[2]
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]


async def test_scores_come_for_pairs(mock: Any) -> None:
    _, answer = await mock.post(SCORE, {"text_1": ["a", "b"], "text_2": ["a", "c"]})
    assert isclose(answer["data"][0]["score"], 1.0)
    assert answer["data"][1]["score"] < 0.5


async def test_results_take_as_long_as_their_prompts_and_count_no_generated_token(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=Linear(0.0, 0.0001)))
    await mock.post(EMBEDDINGS, {"input": ["x" * 4 * 1000, "y" * 4 * 500]})
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(await mock.get_text("/metrics"))
        for sample in family.samples
        if sample.labels.get("finished_reason", "stop") == "stop" and "le" not in sample.labels
    }
    assert (values["vllm:prompt_tokens_total"], values["vllm:generation_tokens_total"]) == (1500, 0)
    assert values["vllm:request_success_total"] == 2
    assert values["vllm:request_generation_tokens_sum"] == 0
    assert values["vllm:e2e_request_latency_seconds_sum"] > 0.15


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (EMBEDDINGS, {}, 400, "must not be empty"),
        (EMBEDDINGS, {"input": ["a", ""]}, 400, "must not be empty"),
        (EMBEDDINGS, {"input": "x", "dimensions": 5000}, 400, "between 1 and 768, got 5000"),
        (EMBEDDINGS, {"input": "x", "encoding_format": "bogus"}, 400, "'float' or 'base64'"),
        (EMBEDDINGS, {"input": "x" * 9000}, 400, "maximum context length is 2048"),
        (EMBEDDINGS, {"input": "x", "model": "nope"}, 404, "does not exist"),
        (RERANK, {"query": "x", "documents": []}, 400, "At least one document"),
        (RERANK, {"query": "x", "documents": ["a"], "top_n": -1}, 400, "greater than or equal to 0"),
        (RERANK, {"documents": ["a"]}, 400, "body.query"),
        (SCORE, {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, 400, "1:1, 1:N or N:N, not 2:3"),
        (SCORE, {"text_1": "a", "text_2": []}, 400, "At least one text"),
        (SCORE, {"text_1": "a"}, 400, "body.text_2"),
        (SCORE, [], 400, "valid dictionary"),
    ],
)
async def test_what_cannot_be_computed_is_refused(mock: Any, path: str, body: Any, status: int, message: str) -> None:
    given, answer = await mock.post(path, body)
    assert given == status
    assert message in answer["error"]["message"]


async def test_a_client_that_hangs_up_aborts_its_prompts(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=Linear(0.2, 0.0), max_model_len=2000))
    async with mock.session() as session:
        asking = asyncio.create_task(session.post(EMBEDDINGS, json={"input": ["x" * 4 * 1500, "y" * 4 * 1500]}))
        await mock.until(running=1)
        asking.cancel()
        await mock.until(running=0, waiting=0, aborted=2)
