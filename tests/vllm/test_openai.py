"""OpenAI's own client makes its ordinary calls to vLLM through the router."""

from typing import Any

import openai

CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "temperature": 0,
    "seed": 7,
}
PROMPT: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0, "seed": 7}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


async def listed(stream: Any) -> list[Any]:
    return [event async for event in await stream]


async def test_a_chat(with_openai):
    answer = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=20))
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == 20


async def test_a_streamed_chat_has_the_text_and_the_usage_of_the_whole_one(with_openai):
    whole = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=40))
    chunks = await with_openai.ask(lambda c: listed(c.chat.completions.create(**CHAT, **WITH_USAGE, max_tokens=40)))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 40


async def test_a_completion_streamed_and_whole(with_openai):
    whole = await with_openai.ask(lambda c: c.completions.create(**PROMPT, max_tokens=40))
    chunks = await with_openai.ask(lambda c: listed(c.completions.create(**PROMPT, max_tokens=40, stream=True)))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_several_answers_with_log_probabilities(with_openai):
    answer = await with_openai.ask(
        lambda c: c.chat.completions.create(
            **CHAT | {"temperature": 1}, n=3, max_tokens=6, logprobs=True, top_logprobs=2
        )
    )
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert {len(choice.logprobs.content) for choice in answer.choices} == {6}


async def test_a_response_streamed_and_whole(with_openai):
    asked: dict[str, Any] = {"model": "tiny", "input": "Tell me a story.", "temperature": 0, "max_output_tokens": 20}
    whole = await with_openai.ask(lambda c: c.responses.create(**asked))
    events = await with_openai.ask(lambda c: listed(c.responses.create(**asked, stream=True)))
    assert events[-1].response.output_text == whole.output_text
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text


async def test_what_vllm_refuses_is_refused(with_openai):
    await with_openai.refused(lambda c: c.chat.completions.create(**CHAT, max_tokens=80_000), openai.BadRequestError)
    await with_openai.refused(lambda c: c.chat.completions.create(**CHAT | {"model": "huge"}), openai.NotFoundError)


async def test_the_router_lists_the_names_that_vllm_lists(with_openai):
    async def names(client: openai.AsyncOpenAI) -> list[str]:
        return [model.id async for model in client.models.list()]

    assert await names(with_openai.routed) == await names(with_openai.direct) == ["tiny", "small"]
