"""What is read from the body of a request, and which bodies are refused before they cost anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.errors import RequestError
from fairlead_router.relay.asked import MAX_BRACKETS, MAX_COMMAS, asked_of

DEPTH = 128
PADDING = pytest.mark.parametrize("padding", [0, 5000, 600_000], ids=["short", "long", "very long"])


def body(padding: int, **more: object) -> bytes:
    return json.dumps({"model": "m", "prompt": "x" * padding, **more}).encode()


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@PADDING
def test_a_body_is_as_deep_as_is_allowed_and_no_deeper(padding):
    asked_of(body(padding, deep=nested(DEPTH - 1)), True, DEPTH, with_prefix=False)
    with pytest.raises(RequestError, match="nested deeper than 128 levels"):
        asked_of(body(padding, deep=nested(DEPTH)), True, DEPTH, with_prefix=False)


@PADDING
def test_a_body_may_be_wide(padding):
    wide = [{"a": [n]} for n in range(3 * DEPTH)]
    assert asked_of(body(padding, wide=wide), True, DEPTH, with_prefix=False).model == "m"


def test_brackets_in_a_text_do_not_matter():
    assert asked_of(body(0, text="[{" * 3000), True, DEPTH, with_prefix=False).model == "m"


@pytest.mark.parametrize("part", [b"{},", b"[],"])
def test_a_body_of_too_many_parts_is_refused_unread(part):
    with pytest.raises(RequestError, match="brackets"):
        asked_of(b"[" + part * MAX_BRACKETS, True, DEPTH, with_prefix=False)


def test_a_body_of_too_many_numbers_is_refused_unread():
    with pytest.raises(RequestError, match="commas"):
        asked_of(b"[" + b"1," * (MAX_COMMAS + 1), True, DEPTH, with_prefix=False)


@given(st.integers(1, 40), st.integers(0, 6000), st.integers(8, 32))
def test_depth_is_judged_the_same_whatever_else_there_is(levels, padding, most):
    for more in ({}, {"text": "[" * 200}):
        data = body(padding, deep=nested(levels), **more)
        if levels + 1 > most:
            with pytest.raises(RequestError):
                asked_of(data, True, most, with_prefix=False)
        else:
            asked_of(data, True, most, with_prefix=False)
