"""OpenAI's own client makes its ordinary calls through the router, and reads what the engine has answered."""

import io
import wave
from typing import Any

import openai

CHAT: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}]}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def recording(seconds: float) -> bytes:
    """A WAV file: 16 kHz, mono, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(bytes(2) * int(16_000 * seconds))
    return file.getvalue()


async def listed(stream: Any) -> list[Any]:
    return [event async for event in await stream]


async def models_of(client: openai.AsyncOpenAI) -> list[Any]:
    return [model async for model in client.models.list()]


async def test_a_chat(with_openai):
    answer = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=6))
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].message.content.split()) == 6
    assert answer.usage.completion_tokens == 6


async def test_a_streamed_chat_has_the_text_of_the_whole_one(with_openai):
    chunks = await with_openai.ask(lambda c: listed(c.chat.completions.create(**CHAT, max_tokens=6, stream=True)))
    whole = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=6))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_a_stream_ends_with_its_usage_where_that_is_asked_for(with_openai):
    chunks = await with_openai.ask(
        lambda c: listed(
            c.chat.completions.create(**CHAT, max_tokens=6, stream=True, stream_options={"include_usage": True})
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6


async def test_every_chunk_has_its_usage_where_that_is_asked_for(with_openai):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = await with_openai.ask(
        lambda c: listed(c.chat.completions.create(**CHAT, max_tokens=3, stream=True, stream_options=options))
    )
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.choices][-1] == 3


async def test_the_helper_for_streams_puts_an_answer_together(with_openai):
    async def final(client: openai.AsyncOpenAI) -> Any:
        async with client.chat.completions.stream(**CHAT) as stream:
            return await stream.get_final_completion()

    answer = await with_openai.ask(final)
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].message.content.split()) > 30


async def test_several_answers_to_one_chat(with_openai):
    answer = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=4, n=3))
    assert len({choice.message.content for choice in answer.choices}) == 3


async def test_several_answers_in_one_stream(with_openai):
    chunks = await with_openai.ask(lambda c: listed(c.chat.completions.create(**CHAT, max_tokens=4, n=3, stream=True)))
    ended = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason]
    assert sorted(ended) == [0, 1, 2]


async def test_log_probabilities_of_a_chat(with_openai):
    answer = await with_openai.ask(
        lambda c: c.chat.completions.create(**CHAT, max_tokens=3, logprobs=True, top_logprobs=2)
    )
    assert [len(token.top_logprobs) for token in answer.choices[0].logprobs.content] == [2, 2, 2]


async def test_log_probabilities_in_a_stream(with_openai):
    chunks = await with_openai.ask(
        lambda c: listed(c.chat.completions.create(**CHAT, max_tokens=3, logprobs=True, top_logprobs=2, stream=True))
    )
    assert sum(len(c.choices[0].logprobs.content) for c in chunks if c.choices[0].logprobs) == 3


async def test_a_call_of_a_tool(with_openai):
    tools: Any = [{"type": "function", "function": WEATHER}]
    answer = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, tools=tools, tool_choice="required"))
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_streamed_call_of_a_tool(with_openai):
    tools: Any = [{"type": "function", "function": WEATHER}]
    chunks = await with_openai.ask(
        lambda c: listed(c.chat.completions.create(**CHAT, tools=tools, tool_choice="required", stream=True))
    )
    pieces = [call.function for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert pieces[0].name == "weather"
    assert "".join(piece.arguments or "" for piece in pieces).startswith('{"city":')


async def test_the_result_of_a_tool_is_sent_back(with_openai):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        *CHAT["messages"],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    answer = await with_openai.ask(lambda c: c.chat.completions.create(model="mock", messages=messages, max_tokens=5))
    assert answer.usage.completion_tokens == 5


async def test_a_stop_string_ends_an_answer(with_openai):
    whole = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=30))
    word = whole.choices[0].message.content.split()[2]
    stopped = await with_openai.ask(lambda c: c.chat.completions.create(**CHAT, max_tokens=30, stop=[word]))
    assert stopped.choices[0].finish_reason == "stop"
    assert word not in stopped.choices[0].message.content


async def test_a_seed_decides_the_answer(with_openai):
    texts = [
        (await with_openai.ask(lambda c, seed=seed: c.chat.completions.create(**CHAT, max_tokens=8, seed=seed)))
        .choices[0]
        .message.content
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


async def test_fields_that_no_client_knows_reach_the_engine(with_openai):
    answer = await with_openai.ask(
        lambda c: c.chat.completions.create(**CHAT, max_tokens=40, extra_body={"ignore_eos": True, "min_tokens": 40})
    )
    assert answer.usage.completion_tokens == 40


async def test_an_adapter_is_a_model(with_openai):
    answer = await with_openai.ask(
        lambda c: c.chat.completions.create(model="adapter", messages=CHAT["messages"], max_tokens=2)
    )
    assert answer.model == "adapter"


async def test_a_completion(with_openai):
    answer = await with_openai.ask(lambda c: c.completions.create(model="mock", prompt="Once", max_tokens=7))
    assert answer.usage.completion_tokens == 7


async def test_a_streamed_completion(with_openai):
    chunks = await with_openai.ask(
        lambda c: listed(c.completions.create(model="mock", prompt="Once", max_tokens=7, stream=True))
    )
    assert len("".join(chunk.choices[0].text for chunk in chunks).split()) == 7


async def test_completions_of_several_prompts_with_log_probabilities(with_openai):
    answer = await with_openai.ask(
        lambda c: c.completions.create(model="mock", prompt=["Once", "Twice"], max_tokens=3, logprobs=2)
    )
    assert [len(choice.logprobs.tokens) for choice in answer.choices] == [3, 3]


async def test_embeddings(with_openai):
    answer = await with_openai.ask(lambda c: c.embeddings.create(model="mock", input=["a text", "another"]))
    assert [len(each.embedding) for each in answer.data] == [768, 768]


async def test_a_response(with_openai):
    answer = await with_openai.ask(
        lambda c: c.responses.create(model="mock", input="Hello", instructions="Be brief.", max_output_tokens=6)
    )
    assert len(answer.output_text.split()) == 6
    assert answer.usage.output_tokens == 6


async def test_a_streamed_response(with_openai):
    events = await with_openai.ask(
        lambda c: listed(c.responses.create(model="mock", input="Hello", max_output_tokens=6, stream=True))
    )
    assert events[0].type == "response.created"
    assert len("".join(e.delta for e in events if e.type == "response.output_text.delta").split()) == 6
    assert (events[-1].type, events[-1].response.status) == ("response.completed", "incomplete")


async def test_a_response_that_calls_a_tool(with_openai):
    tools: Any = [{"type": "function", **WEATHER}]
    answer = await with_openai.ask(
        lambda c: c.responses.create(model="mock", input="Hello", tools=tools, tool_choice="required")
    )
    assert answer.output[0].type == "function_call"
    assert answer.output[0].name == "weather"


async def test_a_transcription(with_openai):
    answer = await with_openai.ask(
        lambda c: c.audio.transcriptions.create(model="mock", file=("speech.wav", recording(4.2)))
    )
    assert len(answer.text.split()) == 13


async def test_a_streamed_transcription(with_openai):
    chunks = await with_openai.ask(
        lambda c: listed(c.audio.transcriptions.create(model="mock", file=("speech.wav", recording(2.0)), stream=True))
    )
    assert len(chunks) == 6


async def test_a_recording_that_needs_many_reads(with_openai):
    answer = await with_openai.ask(
        lambda c: c.audio.transcriptions.create(
            model="mock", file=("speech.wav", recording(60)), response_format="verbose_json"
        )
    )
    assert answer.duration == 60


async def test_models(with_openai):
    models = await with_openai.ask(models_of, reason=None)
    assert [model.id for model in models] == ["mock", "alias", "adapter"]
