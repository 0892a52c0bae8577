"""What is usual from a placement to its first token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.first_tokens import FirstTokens


def test_nothing_is_known_before_anything_was_seen():
    assert FirstTokens().late("chat") == 0.0


def test_each_class_has_its_own():
    tokens = FirstTokens()
    tokens.note("chat", 0.1)
    tokens.note("batch", 5.0)
    assert (tokens.late("chat"), tokens.late("batch")) == (0.1, 5.0)


def test_where_it_varies_there_is_time_to_spare():
    tokens = FirstTokens()
    for number in range(400):
        tokens.note("chat", 0.4 if number % 2 else 0.6)
    assert tokens.late("chat") == pytest.approx(0.7, abs=0.02)


@given(st.lists(st.floats(0.0, 1e6), min_size=1))
def test_it_is_never_less_than_the_least_that_was_seen(seen):
    tokens = FirstTokens()
    for seconds in seen:
        tokens.note("chat", seconds)
    assert tokens.late("chat") >= min(seen) * (1 - 1e-9)
