"""A few endpoints of many."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.window import MOST_WEIGHED, Window


@dataclass(frozen=True)
class Endpoint:
    uid: str


def pool(number: int) -> list[Endpoint]:
    return [Endpoint(f"{place:05}") for place in range(number)]


def test_a_small_pool_is_looked_at_whole():
    endpoints = pool(MOST_WEIGHED)
    assert Window().of(endpoints, {}) is endpoints


@given(st.integers(MOST_WEIGHED + 1, 500), st.integers(1, 4))
def test_every_endpoint_of_a_large_pool_has_its_turn_equally_often(number, looks):
    window, endpoints = Window(), pool(number)
    turns = Counter(each.uid for _ in range(looks * number) for each in window.of(endpoints, {}))
    assert len(turns) == number
    assert max(turns.values()) - min(turns.values()) <= 1


@given(st.integers(MOST_WEIGHED + 1, 500), st.sets(st.integers(0, 700), max_size=5))
def test_endpoints_that_have_the_prompt_are_seen_whatever_their_turn_is(number, places):
    window, endpoints = Window(), pool(number)
    for _ in range(3):
        seen = window.of(endpoints, {f"{place:05}": 1 + place for place in places})
        assert {f"{place:05}" for place in places if place < number} <= {each.uid for each in seen}
        assert sorted(seen, key=lambda each: each.uid) == list(seen)
        assert len({each.uid for each in seen}) == len(seen)
