"""What requests are expected to ask of an engine."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.demand import BYTES_PER_TOKEN, Demands
from fairlead_router.decisions.output_lengths import OutputLengths
from fairlead_router.decisions.prefix_index import PrefixIndex
from fairlead_router.decisions.sessions import Sessions
from fairlead_router.decisions.types import RequestView, Usage


def request(model: str = "m", service_class: str = "default", **asked: object) -> RequestView:
    return RequestView("r", model, service_class, 0.0, **{"prompt_bytes": 4000, **asked})


def test_tokens_of_a_prompt_are_estimated_from_its_bytes_until_usage_says_better():
    demands = Demands()
    assert demands.of(request()).prompt_tokens == 4000 / BYTES_PER_TOKEN + 1
    for _ in range(200):
        demands.learn(request(), Usage(2000, 10), "a")
    assert demands.of(request()).prompt_tokens == pytest.approx(2000, rel=0.01)
    assert demands.of(request(model="other")).prompt_tokens == 4000 / BYTES_PER_TOKEN + 1


def test_tokens_that_somebody_has_counted_are_not_estimated():
    assert Demands().of(request(prompt_tokens=7)).prompt_tokens == 7


def test_answers_are_as_long_as_those_of_the_class_and_model_were():
    demands = Demands()
    for _ in range(500):
        demands.learn(request(service_class="chat"), Usage(0, 900), "a")
        demands.learn(request(service_class="code"), Usage(0, 30), "a")
    assert demands.of(request(service_class="chat")).output_tokens == pytest.approx(900, rel=0.05)
    assert demands.of(request(service_class="code")).output_tokens == pytest.approx(30, rel=0.3)


def test_an_answer_is_not_longer_than_the_request_allows():
    assert Demands().of(request(max_output_tokens=5)).output_tokens == 5


def test_names_that_clients_invent_do_not_fill_the_memory():
    demands = Demands()
    for number in range(3000):
        demands.learn(request(model=str(number)), Usage(10, 10), "a")
    assert len(demands._bytes_per_token) <= 1000
    assert len(demands._output_tokens) <= 1000


def test_a_conversation_has_its_last_exchange_cached_where_that_was():
    demands = Demands()
    demands.learn(request(session=7), Usage(800, 100), "a")
    assert demands.of(request(session=7)).cached == {"a": 900}
    assert demands.of(request(session=8)).cached == {}


def test_a_conversation_that_has_moved_is_where_it_is_now():
    demands = Demands()
    demands.learn(request(session=7), Usage(800, 100), "a")
    demands.placed(demands.of(request(session=7, prompt_tokens=950)), "b")
    assert demands.of(request(session=7, prompt_tokens=2000)).cached == {"b": 950}


def test_no_more_is_cached_than_all_but_the_last_token_of_a_prompt():
    demands = Demands()
    demands.learn(request(session=7), Usage(8000, 100), "a")
    assert demands.of(request(session=7, prompt_tokens=50)).cached == {"a": 49}


def test_what_the_blocks_of_a_prompt_tell_counts_where_it_is_more():
    demands = Demands()
    demands.placed(demands.of(request(session=7, prompt_tokens=10)), "a")
    again = request(session=7, prompt_tokens=500, prefix=(1, 2), prefix_ends=(64, 128))
    demands.placed(demands.of(again), "a")
    demands.placed(demands.of(request(session=7, prompt_tokens=10)), "a")
    assert demands.of(again).cached == {"a": 128}


def test_conversations_of_long_ago_do_not_fill_the_memory():
    sessions = Sessions(most=10)
    for number in range(100):
        sessions.note(number, "a", 5)
    sessions.note(90, "a", 5)
    sessions.note(100, "a", 5)
    known = [number for number in range(101) if sessions.cached_tokens(number, 10, {})]
    assert known == [90, *range(92, 101)], "the ten of late; 91 was the one that nobody had come back to for longest"


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=300))
def test_quantiles_of_lengths_are_within_a_bucket_and_in_order(lengths):
    learnt = OutputLengths()
    for tokens in lengths * 20:
        learnt.add(tokens)
    assert learnt.quantile(0.1) <= learnt.quantile(0.5) <= learnt.quantile(1.0)
    assert learnt.quantile(1.0) >= max(lengths)
    assert learnt.mean <= max(256, *lengths)


def test_a_change_of_lengths_is_followed():
    learnt = OutputLengths()
    for tokens in [100] * 10_000 + [1000] * 10_000:
        learnt.add(tokens)
    assert learnt.mean == pytest.approx(1000, rel=0.1)


def cached(index: PrefixIndex, *prefix: int, tokens: int = 1000) -> dict[str, int]:
    return index.cached_tokens(request(prefix=prefix, prefix_ends=range(16, 160, 16)), tokens)


class TestPrefixIndex:
    def test_endpoints_have_the_blocks_that_they_were_sent(self):
        index = PrefixIndex()
        index.note("a", (1, 2, 3))
        index.note("b", (1, 2))
        assert cached(index, 1, 2, 3, 4) == {"a": 48, "b": 32}
        assert cached(index, 9, 2, 3) == {}

    def test_the_last_token_is_always_computed(self):
        index = PrefixIndex()
        index.note("a", (1, 2))
        assert cached(index, 1, 2, tokens=32) == {"a": 31}

    def test_what_was_used_least_recently_is_forgotten_first(self):
        index = PrefixIndex(most_blocks=3)
        index.note("a", (1, 2))
        index.note("a", (3,))
        index.note("a", (1,))
        index.note("a", (4,))
        assert cached(index, 2) == {}
        assert cached(index, 1) == {"a": 16}

    def test_an_endpoint_that_is_gone_leaves_nothing(self):
        index = PrefixIndex()
        index.note("a", (1, 2))
        index.note("b", (1,))
        index.keep({"b"})
        assert cached(index, 1, 2) == {"b": 16}
        index.keep(set())
        assert not index._holders

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 2), min_size=1, max_size=5)), max_size=20),
        st.lists(st.integers(0, 2), max_size=6),
    )
    def test_it_finds_what_a_search_of_every_endpoint_finds(self, sent, prefix):
        index = PrefixIndex()
        held: dict[str, set[int]] = {}
        for uid, blocks in sent:
            index.note(uid, named(blocks))
            held.setdefault(uid, set()).update(named(blocks))
        expected = {}
        for uid, names in held.items():
            run = next((n for n, name in enumerate(named(prefix)) if name not in names), len(prefix))
            if run:
                expected[uid] = run * 16
        assert cached(index, *named(prefix)) == expected

    def test_a_prompt_that_comes_again_and_again_stays(self):
        index = PrefixIndex(most_blocks=8)
        for other in range(100):
            index.note("a", (1, 2, 3))
            index.note("a", (10 + other,))
        assert cached(index, 1, 2, 3) == {"a": 48}


def named(blocks: Sequence[int]) -> tuple[int, ...]:
    """Name blocks as prompts' are: a name covers all blocks before."""
    return tuple(hash(tuple(blocks[: n + 1])) for n in range(len(blocks)))
