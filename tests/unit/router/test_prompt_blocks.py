"""Blocks of prompts: the same beginning gives the same blocks."""

import orjson
import pytest

from fairlead_router.relay import prompt_blocks
from fairlead_router.relay.prompt_blocks import BLOCK_ENDS, BYTES_PER_TOKEN

LONG = "word " * 4000


def chat(*contents: str, model: str = "m", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": content} for content in contents], **more}


def blocks_of(request: dict[str, object]) -> tuple[int, ...]:
    return prompt_blocks.blocks_of(orjson.dumps(request), request)


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_a_conversation_that_goes_on_begins_with_the_same_blocks():
    before, after = blocks_of(chat(LONG)), blocks_of(chat(LONG, "and then?"))
    assert BLOCK_ENDS[len(before) - 1] == pytest.approx(len(LONG) / BYTES_PER_TOKEN, rel=0.25)
    assert common(before, after) >= len(before) - 1


def test_what_follows_a_difference_is_different():
    one, other = blocks_of(chat("a" + LONG)), blocks_of(chat("b" + LONG))
    assert common(one, other) == 0


def test_adapters_have_caches_of_their_own():
    assert common(blocks_of(chat(LONG)), blocks_of(chat(LONG, model="lora"))) == 0


def test_what_is_not_part_of_the_prompt_does_not_matter():
    assert blocks_of(chat(LONG)) == blocks_of(chat(LONG, temperature=1, stream=True))


def test_every_api_has_blocks():
    for request in ({"prompt": LONG}, {"prompt": [1] * 10_000}, {"input": LONG}, {"system": LONG, "messages": []}):
        assert blocks_of({"model": "m", **request})


def test_a_short_prompt_has_none_and_a_long_one_not_too_many():
    assert blocks_of(chat("hello " * 100)) == ()
    assert len(blocks_of(chat("x" * 1024 * 1024))) == len(BLOCK_ENDS) <= 20


def test_of_what_is_shared_at_least_four_fifths_are_seen():
    for shared in range(8192, 100_000, 777):
        one, other = (blocks_of({"prompt": "x" * shared + rest * 1000}) for rest in "yz")
        seen = BLOCK_ENDS[common(one, other) - 1] * BYTES_PER_TOKEN
        assert 0.8 * shared - 10 <= seen <= shared + 10, shared


def test_prompts_that_differ_in_one_byte_anywhere_are_told_apart_from_there_on():
    text = "word " * 8000
    for place in range(0, len(text), 611):
        one, other = blocks_of({"prompt": text}), blocks_of({"prompt": text[:place] + "#" + text[place + 1 :]})
        assert all(a != b for a, b in zip(one[common(one, other) :], other[common(one, other) :], strict=True))


def test_what_stands_before_the_prompt_does_not_matter():
    text = chat(LONG)
    before = {"temperature": 1, "stop": ["messages"], "stream": True}
    assert blocks_of({**before, **text}) == blocks_of(text)


def test_tools_before_the_messages_belong_to_the_prompt():
    tools = [{"type": "function", "function": {"name": "messages", "description": 'of "messages"'}}]
    one, other = ({"tools": [*tools, {"number": number}], **chat(LONG)} for number in (1, 2))
    assert common(blocks_of(one), blocks_of(other)) == 0
    assert blocks_of(one) == blocks_of(one)
