"""The mock's tokeniser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.mock.tokens import count_tokens, decode, encode


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é", 1), ("日本", 2)])
def test_four_bytes_are_one_token(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_token_ids_give_back_the_text(text: str) -> None:
    tokens = encode(text)
    assert len(tokens) == count_tokens(text)
    assert decode(tokens) == text


@pytest.mark.parametrize("token", [-1, 0, 2, 0x0200, 0x01_00_00_00_00_00])
def test_a_number_that_is_no_token_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match=f"{token} is not a token id"):
        decode([token])
