"""Blocks of prompts: the same beginning gives the same blocks."""

from fairlead_router.relay.prompt_blocks import BLOCK_BYTES, MOST_BLOCKS, blocks_of

LONG = "word " * 400


def chat(*contents: str, model: str = "m", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": content} for content in contents], **more}


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_a_conversation_that_goes_on_begins_with_the_same_blocks():
    before, after = blocks_of(chat(LONG)), blocks_of(chat(LONG, "and then?"))
    assert len(before) == len(LONG) // BLOCK_BYTES
    assert common(before, after) >= len(before) - 1


def test_what_follows_a_difference_is_different():
    one, other = blocks_of(chat("a" + LONG)), blocks_of(chat("b" + LONG))
    assert common(one, other) == 0


def test_adapters_have_caches_of_their_own():
    assert common(blocks_of(chat(LONG)), blocks_of(chat(LONG, model="lora"))) == 0


def test_what_is_not_part_of_the_prompt_does_not_matter():
    assert blocks_of(chat(LONG)) == blocks_of(chat(LONG, temperature=1, stream=True))


def test_every_api_has_blocks():
    for request in ({"prompt": LONG}, {"prompt": [1] * 1000}, {"input": LONG}, {"system": LONG, "messages": []}):
        assert blocks_of({"model": "m", **request})


def test_a_short_prompt_has_none_and_a_long_one_not_too_many():
    assert blocks_of(chat("hello")) == ()
    assert len(blocks_of(chat("x" * 10 * BLOCK_BYTES * MOST_BLOCKS))) == MOST_BLOCKS
