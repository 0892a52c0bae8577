"""Anthropic's own client makes its ordinary calls through the router, and reads what the engine has answered."""

from typing import Any

import anthropic

HELLO: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


async def listed(stream: Any) -> list[Any]:
    return [event async for event in await stream]


async def test_a_message(with_anthropic):
    answer = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=5))
    assert answer.stop_reason == "max_tokens"
    assert len(answer.content[0].text.split()) == 5
    assert answer.usage.output_tokens == 5


async def test_a_streamed_message(with_anthropic):
    events = await with_anthropic.ask(lambda c: listed(c.messages.create(**HELLO, max_tokens=5, stream=True)))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_helper_for_streams_puts_a_message_together(with_anthropic):
    async def final(client: anthropic.AsyncAnthropic) -> Any:
        async with client.messages.stream(**HELLO, max_tokens=5) as stream:
            return await stream.get_final_message()

    streamed = await with_anthropic.ask(final)
    whole = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=5))
    assert streamed.content[0].text == whole.content[0].text


async def test_a_system_prompt_counts(with_anthropic):
    without = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=5))
    answer = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=5, system="Be brief."))
    assert answer.usage.input_tokens > without.usage.input_tokens
    assert answer.content[0].text != without.content[0].text


async def test_a_conversation_of_blocks(with_anthropic):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hello to you"},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]
    answer = await with_anthropic.ask(lambda c: c.messages.create(model="mock", messages=messages, max_tokens=3))
    assert answer.usage.output_tokens == 3


async def test_a_stop_sequence_ends_a_message(with_anthropic):
    whole = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=30))
    word = whole.content[0].text.split()[2]
    answer = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=30, stop_sequences=[word]))
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", word)


async def test_a_use_of_a_tool(with_anthropic):
    answer = await with_anthropic.ask(
        lambda c: c.messages.create(**HELLO, max_tokens=99, tools=[WEATHER], tool_choice={"type": "any"})
    )
    assert answer.stop_reason == "tool_use"
    assert answer.content[0].name == "weather"
    assert set(answer.content[0].input) == {"city"}


async def test_a_streamed_use_of_a_tool(with_anthropic):
    async def final(client: anthropic.AsyncAnthropic) -> Any:
        how: Any = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}
        async with client.messages.stream(**HELLO, max_tokens=99, **how) as stream:
            return await stream.get_final_message()

    answer = await with_anthropic.ask(final)
    assert set(answer.content[0].input) == {"city"}


async def test_the_result_of_a_tool_is_sent_back(with_anthropic):
    messages = [
        *HELLO["messages"],
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}]},
    ]
    answer = await with_anthropic.ask(
        lambda c: c.messages.create(model="mock", messages=messages, max_tokens=5, tools=[WEATHER])
    )
    assert answer.content[0].type == "text"


async def test_tokens_are_counted(with_anthropic):
    counted = await with_anthropic.ask(lambda c: c.messages.count_tokens(**HELLO))
    answer = await with_anthropic.ask(lambda c: c.messages.create(**HELLO, max_tokens=1))
    assert counted.input_tokens == answer.usage.input_tokens


async def test_models(with_anthropic):
    async def ids(client: anthropic.AsyncAnthropic) -> list[str]:
        return [model.id async for model in client.models.list()]

    assert await with_anthropic.ask(ids, reason=None) == ["mock", "alias", "adapter"]
