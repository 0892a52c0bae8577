"""OpenAI's /v1/responses, with its client."""

import json
from typing import Any

import openai
import pytest

PATH = "/v1/responses"
TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": False,
    }
]


def client(mock: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", max_retries=0, timeout=10)


async def test_a_whole_response_has_its_text_and_usage(mock: Any) -> None:
    async with client(mock) as api:
        response = await api.responses.create(model="mock", input="Hello", extra_body={"seed": 3})
    assert (response.object, response.status, response.model) == ("response", "completed", "mock")
    assert response.output_text
    assert response.usage is not None
    assert response.usage.input_tokens == 6
    assert response.usage.output_tokens == len(response.output_text) / 4
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


async def test_a_chat_of_the_same_words_gets_the_same_text(mock: Any) -> None:
    _, response = await mock.post(PATH, {"input": "Hello", "max_output_tokens": 9})
    _, chat = await mock.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
    )
    assert response["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]


async def test_a_response_that_max_output_tokens_cut_is_incomplete(mock: Any) -> None:
    async with client(mock) as api:
        response = await api.responses.create(model="mock", input="Hello", max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


async def test_the_openai_client_streams_a_response(mock: Any) -> None:
    async with client(mock) as api:
        stream = await api.responses.create(model="mock", input="Hello", max_output_tokens=5, stream=True)
        events = [event async for event in stream]
        whole = await api.responses.create(model="mock", input="Hello", max_output_tokens=5)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    last = events[-1]
    assert last.type == "response.completed"
    assert (last.response.output_text, last.response.usage) == (whole.output_text, whole.usage)


async def test_instructions_and_items_become_one_conversation(mock: Any) -> None:
    items: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "yes?"}]},
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "rain"},
    ]
    _, response = await mock.post(PATH, {"instructions": "be brief", "input": items, "max_output_tokens": 1})
    prompt = "system: be brief\nuser: Hi\nassistant: yes?\nassistant: weather({})\ntool: rain\nassistant:"
    assert response["usage"]["input_tokens"] == -(-len(prompt) // 4)


async def test_a_required_tool_is_called(mock: Any) -> None:
    async with client(mock) as api:
        response = await api.responses.create(model="mock", input="Hello", tools=TOOLS, tool_choice="required")
        stream = await api.responses.create(
            model="mock", input="Hello", tools=TOOLS, tool_choice="required", stream=True
        )
        events = [event async for event in stream]
    (call,) = response.output
    assert call.type == "function_call"
    assert (call.name, set(json.loads(call.arguments))) == ("weather", {"city"})
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call.arguments


async def test_log_probabilities_come_when_they_are_included(mock: Any) -> None:
    body = {"input": "x", "max_output_tokens": 2, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    _, response = await mock.post(PATH, body)
    assert [len(token["top_logprobs"]) for token in response["output"][0]["content"][0]["logprobs"]] == [2, 2]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "body.input"),
        ({"input": ""}, 400, "input"),
        ({"input": [{"type": "image_generation_call"}]}, 400, "input"),
        ({"input": "x", "background": True}, 400, "background"),
        ({"input": "x", "previous_response_id": "resp_1"}, 404, "response_id"),
        ({"input": "x", "max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"input": "x", "model": "nope"}, 404, "model"),
    ],
)
async def test_what_cannot_be_done_is_refused(mock: Any, body: dict[str, Any], status: int, param: str) -> None:
    given, answer = await mock.post(PATH, body)
    assert (given, answer["error"]["param"]) == (status, param)


async def test_responses_of_the_past_are_not_kept(mock: Any) -> None:
    status, answer = await mock.get(f"{PATH}/resp_1")
    assert (status, answer["error"]["message"]) == (404, "Response with id 'resp_1' not found.")
