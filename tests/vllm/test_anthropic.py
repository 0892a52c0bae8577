"""Anthropic's own client makes its ordinary calls to vLLM through the router."""

from typing import Any

import anthropic

HELLO: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me a story."}]}
GREEDY: dict[str, Any] = HELLO | {"extra_body": {"temperature": 0}}


async def test_a_message(with_anthropic):
    answer = await with_anthropic.ask(lambda c: c.messages.create(**GREEDY, max_tokens=20))
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 20


async def test_a_streamed_message_has_the_text_of_the_whole_one(with_anthropic):
    async def final(client: anthropic.AsyncAnthropic) -> anthropic.types.Message:
        async with client.messages.stream(**GREEDY, max_tokens=40) as stream:
            return await stream.get_final_message()

    streamed = await with_anthropic.ask(final)
    whole = await with_anthropic.ask(lambda c: c.messages.create(**GREEDY, max_tokens=40))
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens == 40


async def test_tokens_are_counted(with_anthropic):
    counted = await with_anthropic.ask(lambda c: c.messages.count_tokens(**HELLO))
    answer = await with_anthropic.ask(lambda c: c.messages.create(**GREEDY, max_tokens=1))
    assert counted.input_tokens == answer.usage.input_tokens


async def test_what_vllm_refuses_is_refused(with_anthropic):
    await with_anthropic.refused(lambda c: c.messages.create(**GREEDY, max_tokens=5_000), anthropic.BadRequestError)
