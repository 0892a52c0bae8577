"""The OpenAI API of the mock engine, in vLLM's shapes."""

import asyncio
from typing import Any

import openai
import pytest

from fairlead_engine.mock.edge import MAX_BODY_BYTES
from fairlead_engine.mock.settings import Settings

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]
NO_DETAILS = {"prompt_tokens_details": None, "completion_tokens_details": None}
HELLO_TOKENS = 6  # "user: Hello\nassistant:" is 22 bytes


def client(mock: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", max_retries=0, timeout=10)


async def test_the_openai_client_streams_a_chat(mock: Any) -> None:
    async with client(mock) as api:
        stream = await api.chat.completions.create(
            model="mock",
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = [chunk async for chunk in stream]
    opening, *tokens, last = chunks
    assert (opening.choices[0].delta.role, opening.choices[0].delta.content) == ("assistant", "")
    assert len(tokens) == 12
    assert all(chunk.choices[0].delta.content for chunk in tokens)
    assert [chunk.choices[0].finish_reason for chunk in tokens] == [None] * 11 + ["length"]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (6, 12, 18)
    assert len({(chunk.id, chunk.created, chunk.object, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk"


async def test_the_openai_client_reads_a_whole_chat_with_the_same_text(mock: Any) -> None:
    async with client(mock) as api:
        whole = await api.chat.completions.create(
            model="mock", messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=20
        )
    streamed = await mock.stream(CHAT, model="mock", messages=HELLO, max_tokens=20)
    assert whole.object == "chat.completion"
    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].message.content == "".join(chunk.text for chunk in streamed.chunks)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (HELLO_TOKENS, 20)


async def test_the_openai_client_reads_completions(mock: Any) -> None:
    async with client(mock) as api:
        whole = await api.completions.create(model="mock", prompt="Once upon", max_tokens=5)
        stream = await api.completions.create(model="mock", prompt="Once upon", max_tokens=5, stream=True)
        chunks = [chunk async for chunk in stream]
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "length")
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert len(chunks) == 5


async def test_the_openai_client_sees_an_unknown_model_as_not_found(mock: Any) -> None:
    async with client(mock) as api:
        with pytest.raises(openai.NotFoundError, match="The model `nope` does not exist"):
            await api.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hello"}])


async def test_the_openai_client_lists_the_models(mock: Any) -> None:
    async with client(mock) as api:
        models = [model.id async for model in api.models.list()]
    assert models == ["mock", "alias"]


async def test_a_stream_ends_with_done(mock: Any) -> None:
    assert (await mock.stream(CHAT, messages=HELLO, max_tokens=1)).done
    assert (await mock.stream(COMPLETIONS, prompt="x", max_tokens=1)).done


async def test_chunks_carry_no_usage_unless_asked(mock: Any) -> None:
    streamed = await mock.stream(CHAT, messages=HELLO, max_tokens=3)
    assert not any("usage" in chunk.data for chunk in streamed.chunks)


async def test_continuous_usage_counts_up_chunk_by_chunk(mock: Any) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    streamed = await mock.stream(CHAT, messages=HELLO, max_tokens=3, stream_options=options)
    usages = [
        (chunk.data["usage"]["prompt_tokens"], chunk.data["usage"]["completion_tokens"]) for chunk in streamed.chunks
    ]
    assert usages == [(HELLO_TOKENS, 0), (HELLO_TOKENS, 1), (HELLO_TOKENS, 2), (HELLO_TOKENS, 3), (HELLO_TOKENS, 3)]


async def test_n_choices_differ_and_their_tokens_add_up(mock: Any) -> None:
    body = {"messages": HELLO, "max_tokens": 8, "ignore_eos": True, "n": 3}
    _, whole = await mock.post(CHAT, body)
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert (
        whole["usage"]
        == {"prompt_tokens": HELLO_TOKENS, "completion_tokens": 24, "total_tokens": HELLO_TOKENS + 24} | NO_DETAILS
    )
    streamed = await mock.stream(CHAT, **body)
    by_choice = ["", "", ""]
    for chunk in streamed.chunks:
        by_choice[chunk.data["choices"][0]["index"]] += chunk.text
    assert by_choice == texts


async def test_every_prompt_of_a_list_is_answered_and_counted(mock: Any) -> None:
    _, whole = await mock.post(COMPLETIONS, {"prompt": ["abcd", "abcdefgh"], "n": 2, "max_tokens": 3})
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15} | NO_DETAILS


async def test_a_prompt_of_token_ids_is_its_text(mock: Any) -> None:
    _, tokens = await mock.post("/tokenize", {"prompt": "Once upon a time"})
    _, by_text = await mock.post(COMPLETIONS, {"prompt": "Once upon a time"})
    _, by_ids = await mock.post(COMPLETIONS, {"prompt": tokens["tokens"]})
    assert by_ids["choices"] == by_text["choices"]
    assert by_ids["usage"] == by_text["usage"]


async def test_completions_have_sixteen_tokens_by_default_and_chats_end_by_themselves(mock: Any) -> None:
    _, completion = await mock.post(COMPLETIONS, {"prompt": "x", "ignore_eos": True})
    _, chat = await mock.post(CHAT, {"messages": HELLO})
    assert completion["usage"]["completion_tokens"] == 16
    assert chat["choices"][0]["finish_reason"] == "stop"


async def test_ignore_eos_without_max_tokens_fills_the_context(start_mock: Any) -> None:
    mock = start_mock(Settings(max_model_len=100))
    _, chat = await mock.post(CHAT, {"messages": HELLO, "ignore_eos": True})
    assert chat["usage"]["total_tokens"] == 100
    assert chat["choices"][0]["finish_reason"] == "length"


async def test_a_stop_string_ends_the_answer_and_is_named(mock: Any) -> None:
    body: dict[str, Any] = {"messages": HELLO, "max_tokens": 40, "ignore_eos": True}
    _, uncut = await mock.post(CHAT, body)
    word = uncut["choices"][0]["message"]["content"].split()[7]
    _, cut = await mock.post(CHAT, body | {"stop": [word, "no such word"]})
    choice = cut["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", word)
    assert word not in choice["message"]["content"]
    assert cut["usage"]["completion_tokens"] <= 8
    streamed = await mock.stream(CHAT, **body, stop=word)
    assert "".join(chunk.text for chunk in streamed.chunks) == choice["message"]["content"]
    assert streamed.chunks[-1].data["choices"][0]["stop_reason"] == word


@pytest.mark.parametrize(
    "content", ["Hello", [{"type": "text", "text": "Hello"}], [{"type": "text", "text": "Hello", "cache": True}]]
)
async def test_content_is_a_string_or_parts_of_text(mock: Any, content: Any) -> None:
    _, reference = await mock.post(CHAT, {"messages": HELLO, "max_tokens": 4})
    status, answer = await mock.post(CHAT, {"messages": [{"role": "user", "content": content}], "max_tokens": 4})
    assert status == 200
    assert answer["choices"] == reference["choices"]


async def test_unknown_fields_and_unused_parameters_are_accepted(mock: Any) -> None:
    extra = {"temperature": 0.3, "user": "someone", "stream": None, "future_field": {"a": 1}, "model": "alias"}
    status, _ = await mock.post(CHAT, {"messages": HELLO, "max_tokens": 2, **extra})
    assert status == 200


async def test_the_same_request_gets_the_same_text_and_another_seed_another(mock: Any) -> None:
    answers = [await mock.post(CHAT, {"messages": HELLO, "max_tokens": 9, "seed": seed}) for seed in (1, 1, 2)]
    texts = [answer["choices"][0]["message"]["content"] for _, answer in answers]
    assert texts[0] == texts[1] != texts[2]


BAD_BODIES: list[tuple[str, Any, str | None, str]] = [
    (CHAT, b'{"model":', "body", "json_invalid"),
    (CHAT, b"", "body", "json_invalid"),
    (CHAT, [1], "body", "valid dictionary"),
    (CHAT, {}, "body.messages", "Field required"),
    (CHAT, {"messages": []}, "messages", "at least one message"),
    (CHAT, {"messages": [{"content": "x"}]}, "body.messages.0.role", "Field required"),
    (CHAT, {"messages": HELLO, "max_tokens": "many"}, "body.max_tokens", "valid integer"),
    (CHAT, {"messages": HELLO, "max_tokens": 0}, "max_tokens", "must be at least 1, got 0"),
    (CHAT, {"messages": HELLO, "max_completion_tokens": -1}, "max_completion_tokens", "must be at least 1, got -1"),
    (CHAT, {"messages": HELLO, "max_tokens": 5000}, "max_tokens", "cannot be greater than max_model_len=2048"),
    (CHAT, {"messages": HELLO, "min_tokens": 9, "max_tokens": 3}, "min_tokens", "between 0 and max_tokens=3, got 9"),
    (CHAT, {"messages": HELLO, "n": 0}, "n", "between 1 and 128, got 0"),
    (CHAT, {"messages": HELLO, "stop": ["a", ""]}, "stop", "empty string"),
    (CHAT, {"messages": HELLO, "stream_options": {"include_usage": True}}, "stream_options", "`stream=True`"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "image_url"),
    (CHAT, {"messages": [{"role": "user", "content": "x" * 9000}]}, "input_tokens", "maximum context length is 2048"),
    (COMPLETIONS, {}, "prompt", "must not be empty"),
    (COMPLETIONS, {"prompt": ["a", ""]}, "prompt", "must not be empty"),
    (COMPLETIONS, {"prompt": [7]}, None, "7 is not a token id"),
    (COMPLETIONS, {"prompt": 7}, "body.prompt", "list"),
    ("/tokenize", {}, "prompt", "prompt or messages"),
    ("/detokenize", {"tokens": [7]}, None, "7 is not a token id"),
]


@pytest.mark.parametrize(("path", "body", "param", "message"), BAD_BODIES)
async def test_a_bad_body_is_refused_with_the_field_at_fault(
    mock: Any, path: str, body: Any, param: str | None, message: str
) -> None:
    status, answer = await mock.post(path, body)
    assert status == 400
    assert (answer["error"]["code"], answer["error"]["param"]) == (400, param)
    assert message in answer["error"]["message"]
    assert answer["error"]["type"] in ("BadRequestError", "Bad Request")


async def test_a_body_larger_than_any_prompt_is_refused(mock: Any) -> None:
    status, answer = await mock.post(CHAT, b" " * (MAX_BODY_BYTES + 1))
    assert (status, answer["error"]["code"]) == (413, 413)


async def test_an_answer_that_would_outgrow_the_context_ends_there(mock: Any) -> None:
    prompt = "x" * 4 * 2000
    _, answer = await mock.post(COMPLETIONS, {"prompt": prompt, "max_tokens": 2048, "ignore_eos": True})
    assert answer["usage"] == {"prompt_tokens": 2000, "completion_tokens": 48, "total_tokens": 2048} | NO_DETAILS
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize"])
async def test_an_unknown_model_is_not_found(mock: Any, path: str) -> None:
    body = {"model": "nope", "messages": HELLO, "prompt": "x", "tokens": []}
    status, answer = await mock.post(path, body)
    assert status == 404
    assert (answer["error"]["type"], answer["error"]["param"], answer["error"]["code"]) == (
        "NotFoundError",
        "model",
        404,
    )


async def test_tokens_become_text_again(mock: Any) -> None:
    _, tokens = await mock.post("/tokenize", {"model": "mock", "prompt": "Grüße, 世界"})
    assert (tokens["count"], tokens["max_model_len"]) == (4, 2048)
    _, text = await mock.post("/detokenize", {"tokens": tokens["tokens"]})
    assert text == {"prompt": "Grüße, 世界"}


async def test_tokenize_counts_a_chat_as_usage_does(mock: Any) -> None:
    _, tokens = await mock.post("/tokenize", {"messages": HELLO})
    assert tokens["count"] == HELLO_TOKENS


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")])
async def test_a_serving_engine_is_healthy(mock: Any, method: str, path: str) -> None:
    async with mock.session() as session, session.request(method, path) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_version_and_load_answer_as_vllm_does(mock: Any) -> None:
    assert list((await mock.get("/version"))[1]) == ["version"]
    assert (await mock.get("/load"))[1] == {"server_load": 0}


async def test_the_models_say_their_context_length(mock: Any) -> None:
    _, models = await mock.get("/v1/models")
    assert [(card["id"], card["root"], card["max_model_len"]) for card in models["data"]] == [
        ("mock", "mock", 2048),
        ("alias", "mock", 2048),
    ]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/no/such/path", CHAT])
async def test_every_response_says_which_engine_it_is_from(mock: Any, path: str) -> None:
    async with mock.session() as session, session.get(path) as response:
        assert response.headers["x-engine-id"] == "engine-1"
    async with mock.session() as session, session.post(CHAT, data=b"{") as response:
        assert response.headers["x-engine-id"] == "engine-1"


async def test_two_hundred_requests_at_once_all_get_exactly_what_they_asked_for(mock: Any) -> None:
    lengths = [(17 * i) % 61 + 1 for i in range(200)]
    prompts = [f"request {i} " * (i % 40 + 1) for i in range(200)]
    async with mock.session() as session:

        async def completion_tokens(prompt: str, max_tokens: int) -> int:
            body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True}
            async with session.post(COMPLETIONS, json=body) as response:
                return int((await response.json())["usage"]["completion_tokens"])

        answers = await asyncio.gather(*map(completion_tokens, prompts, lengths))
    assert answers == lengths
