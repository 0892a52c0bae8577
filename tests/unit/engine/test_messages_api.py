"""Anthropic's /v1/messages, read as its clients read it."""

import json
from typing import Any

import pytest

PATH = "/v1/messages"
HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


async def events(mock: Any, **body: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the named events of a stream, whose data repeat the name."""
    async with mock.session() as session, session.post(PATH, json={"stream": True, **body}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        text = (await response.read()).decode()
    assert text.endswith("\n\n")
    found = []
    for block in text[:-2].split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(document["type"] == name for name, document in found)
    return found


async def test_a_whole_message_has_its_text_and_usage(mock: Any) -> None:
    status, message = await mock.post(PATH, {"model": "mock", "messages": HELLO, "max_tokens": 5})
    assert status == 200
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "mock")
    assert message["content"][0]["type"] == "text"
    assert len(message["content"][0]["text"]) == 20
    assert (message["stop_reason"], message["stop_sequence"]) == ("max_tokens", None)
    assert message["usage"] == {"input_tokens": 6, "output_tokens": 5}


async def test_a_stream_opens_a_block_fills_it_and_closes_it(mock: Any) -> None:
    found = await events(mock, messages=HELLO, max_tokens=4)
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    _, whole = await mock.post(PATH, {"messages": HELLO, "max_tokens": 4})
    deltas = [document["delta"] for name, document in found if name == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"text_delta"}
    assert "".join(delta["text"] for delta in deltas) == whole["content"][0]["text"]
    start, end = found[0][1]["message"], found[-2][1]
    assert (start["content"], start["stop_reason"], start["usage"]) == (
        [],
        None,
        {"input_tokens": 6, "output_tokens": 0},
    )
    assert (end["delta"]["stop_reason"], end["usage"]) == ("max_tokens", whole["usage"])


async def test_an_answer_that_ends_by_itself_ends_its_turn(mock: Any) -> None:
    _, message = await mock.post(PATH, {"messages": HELLO, "max_tokens": 1000})
    assert message["stop_reason"] == "end_turn"


async def test_a_stop_sequence_is_named(mock: Any) -> None:
    body = {"messages": HELLO, "max_tokens": 40}
    _, uncut = await mock.post(PATH, body)
    word = uncut["content"][0]["text"].split()[5]
    _, cut = await mock.post(PATH, body | {"stop_sequences": [word]})
    assert (cut["stop_reason"], cut["stop_sequence"]) == ("stop_sequence", word)
    assert word not in cut["content"][0]["text"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
async def test_a_forced_tool_is_used(mock: Any, choice: dict[str, str]) -> None:
    body = {"messages": HELLO, "max_tokens": 100, "tools": TOOLS, "tool_choice": choice}
    _, message = await mock.post(PATH, body)
    (block,) = message["content"]
    assert (message["stop_reason"], block["type"], block["name"]) == ("tool_use", "tool_use", "weather")
    assert isinstance(block["input"]["city"], str)
    found = await events(mock, **body)
    assert found[1][1]["content_block"] | {"id": ""} == {"type": "tool_use", "id": "", "name": "weather", "input": {}}
    deltas = [document["delta"] for name, document in found if name == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"input_json_delta"}
    assert json.loads("".join(delta["partial_json"] for delta in deltas)) == block["input"]


async def test_a_call_that_max_tokens_cut_has_no_input(mock: Any) -> None:
    body = {"messages": HELLO, "max_tokens": 1, "tools": TOOLS, "tool_choice": {"type": "any"}}
    _, message = await mock.post(PATH, body)
    assert (message["stop_reason"], message["content"][0]["input"]) == ("max_tokens", {})


async def test_system_and_blocks_become_one_conversation(mock: Any) -> None:
    body = {
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "done"}]},
        ],
    }
    prompt = "system: be brief\nuser: Hi\nassistant: f({})\nuser: done\nassistant:"
    tokens = -(-len(prompt) // 4)
    assert await mock.post(f"{PATH}/count_tokens", body) == (
        200,
        {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}},
    )
    _, message = await mock.post(PATH, body | {"max_tokens": 1})
    assert message["usage"]["input_tokens"] == tokens


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"messages": HELLO}, 400, "Bad Request", "body.max_tokens"),
        ({"messages": HELLO, "max_tokens": 0}, 400, "Bad Request", "greater than 0"),
        ({"messages": [], "max_tokens": 1}, 400, "BadRequestError", "at least one message"),
        ({"messages": [{"role": "bob", "content": ""}], "max_tokens": 1}, 400, "Bad Request", "messages.0.role"),
        ({"messages": HELLO, "max_tokens": 1, "model": "nope"}, 404, "NotFoundError", "`nope` does not exist"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}], "max_tokens": 1},
            400,
            "BadRequestError",
            "'image'",
        ),
        (
            {"messages": HELLO, "max_tokens": 1, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}},
            400,
            "BadRequestError",
            "not among `tools`",
        ),
    ],
)
async def test_errors_have_anthropics_shape(
    mock: Any, body: dict[str, Any], status: int, kind: str, message: str
) -> None:
    given, answer = await mock.post(PATH, body)
    assert (given, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert message in answer["error"]["message"]
