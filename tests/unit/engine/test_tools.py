"""Tools: calls that a request forces, in all APIs that know them."""

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.mock.tool_calls import arguments_text

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}, "note": {}},
    "required": ["city", "days"],
}
TIME = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "time", "parameters": TIME}},
]
NAMED = {"type": "function", "function": {"name": "time"}}


def client(mock: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", max_retries=0, timeout=10)


async def test_required_calls_the_first_function_with_arguments_that_its_schema_allows(mock: Any) -> None:
    async with client(mock) as api:
        whole = await api.chat.completions.create(model="mock", messages=HELLO, tools=TOOLS, tool_choice="required")
    choice = whole.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "days"}
    assert isinstance(arguments["city"], str)
    assert 1 <= arguments["days"] <= 3


async def test_a_named_function_is_called_and_the_choice_ends_with_stop(mock: Any) -> None:
    status, whole = await mock.post(CHAT, {"messages": HELLO, "tools": TOOLS, "tool_choice": NAMED})
    choice = whole["choices"][0]
    assert (status, choice["finish_reason"]) == (200, "stop")
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "time"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])["zone"] in ("UTC", "CET")


async def test_the_openai_client_puts_a_streamed_call_together(mock: Any) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required"}
    async with client(mock) as api, api.chat.completions.stream(model="mock", **body) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    _, whole = await mock.post(CHAT, body)
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].message.tool_calls is not None
    streamed, given = final.choices[0].message.tool_calls[0], whole["choices"][0]["message"]["tool_calls"][0]
    assert (streamed.function.name, streamed.function.arguments) == (
        given["function"]["name"],
        given["function"]["arguments"],
    )


@pytest.mark.parametrize("choice", [None, "auto", "none"])
async def test_without_being_forced_the_mock_answers_with_text(mock: Any, choice: str | None) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "max_tokens": 3} | ({} if choice is None else {"tool_choice": choice})
    _, whole = await mock.post(CHAT, body)
    assert whole["choices"][0]["message"]["content"]
    assert "tool_calls" not in whole["choices"][0]["message"]


async def test_max_tokens_cut_a_call(mock: Any) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "max_tokens": 2}
    _, whole = await mock.post(CHAT, body)
    choice = whole["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["tool_calls"][0]["function"]["arguments"]) == 8
    assert whole["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tool_choice": "required"}, "`tools` must be set"),
        ({"tool_choice": "bogus", "tools": TOOLS}, "Invalid value for `tool_choice`: bogus"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}, "tools": TOOLS}, "'x', which is not among"),
        ({"tool_choice": {"type": "function"}, "tools": TOOLS}, "Invalid value for `tool_choice`"),
    ],
)
async def test_a_choice_that_makes_no_sense_is_refused(mock: Any, body: dict[str, Any], message: str) -> None:
    status, answer = await mock.post(CHAT, {"messages": HELLO, **body})
    assert (status, answer["error"]["param"]) == (400, "tool_choice")
    assert message in answer["error"]["message"]


async def test_a_conversation_with_calls_and_their_results_is_read(mock: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    _, tokens = await mock.post("/tokenize", {"messages": messages})
    _, text = await mock.post("/detokenize", {"tokens": tokens["tokens"]})
    assert text["prompt"] == "user: Hello\nassistant: time({})\ntool: noon\nassistant:"


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"type": "string"}, lambda v: isinstance(v, str)),
        ({"type": ["null", "string"]}, lambda v: v is None),
        ({"type": "boolean"}, lambda v: isinstance(v, bool)),
        ({"type": "number", "minimum": 5}, lambda v: v >= 5),
        ({"type": "integer", "maximum": 0}, lambda v: v <= 0),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, lambda v: v == [None, None]),
        ({"enum": ["a", "b"]}, lambda v: v in ("a", "b")),
        ({"const": 7}, lambda v: v == 7),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, lambda v: v is None),
        ({"properties": {"x": {"type": "boolean"}}}, lambda v: isinstance(v["x"], bool)),
        (True, lambda v: v is None),
    ],
)
@given(seed=st.integers(0, 2**64 - 1))
def test_arguments_are_of_the_type_that_the_schema_says(schema: Any, allowed: Any, seed: int) -> None:
    text = arguments_text({"type": "object", "properties": {"value": schema}, "required": ["value"]}, seed)
    assert allowed(json.loads(text)["value"])
    assert text.isascii()


def test_a_schema_without_properties_takes_no_arguments() -> None:
    assert arguments_text({}, 1) == "{}"


def test_a_schema_that_nests_without_end_ends() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": ["again"]}
    schema["properties"]["again"] = schema
    assert arguments_text(schema, 1).count("again") < 20
