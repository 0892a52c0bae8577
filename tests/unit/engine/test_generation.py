"""What the mock answers."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.mock.generation import NATURAL_TOKENS, PIECES, Sampling, answer_seed, plan_answer
from fairlead_engine.mock.tokens import count_tokens

SEEDS = st.integers(0, 2**64 - 1)
ROOM = Sampling(max_tokens=8000)


def test_there_are_sixty_four_different_pieces_of_one_token_each() -> None:
    assert len(set(PIECES)) == 64
    assert {count_tokens(piece) for piece in PIECES} == {1}


@given(SEEDS, st.integers(1, 400))
def test_the_same_request_gets_the_same_answer(seed: int, max_tokens: int) -> None:
    assert plan_answer(seed, Sampling(max_tokens)) == plan_answer(seed, Sampling(max_tokens))


def test_prompt_seed_and_choice_each_change_the_answer() -> None:
    seeds = [answer_seed("a", None, 0), answer_seed("b", None, 0), answer_seed("a", 1, 0), answer_seed("a", None, 1)]
    assert len({plan_answer(seed, ROOM).text() for seed in seeds}) == 4


@given(SEEDS, st.integers(1, 2000))
def test_ignore_eos_gives_exactly_max_tokens(seed: int, max_tokens: int) -> None:
    answer = plan_answer(seed, Sampling(max_tokens, ignore_eos=True))
    assert (answer.tokens, answer.finish_reason) == (max_tokens, "length")
    assert count_tokens(answer.text()) == max_tokens


@given(SEEDS)
def test_an_answer_with_room_ends_by_itself(seed: int) -> None:
    answer = plan_answer(seed, ROOM)
    assert answer.tokens in NATURAL_TOKENS
    assert answer.finish_reason == "stop"


@given(SEEDS, st.integers(1, 400))
def test_an_answer_is_as_long_as_the_shorter_of_its_own_length_and_max_tokens(seed: int, max_tokens: int) -> None:
    natural = plan_answer(seed, ROOM).tokens
    answer = plan_answer(seed, Sampling(max_tokens))
    assert answer.tokens == min(natural, max_tokens)
    assert answer.finish_reason == ("stop" if natural <= max_tokens else "length")


@given(SEEDS, st.integers(0, 400))
def test_an_answer_has_at_least_min_tokens(seed: int, min_tokens: int) -> None:
    assert plan_answer(seed, Sampling(400, min_tokens)).tokens >= min_tokens


@given(SEEDS, st.integers(1, 60), st.lists(st.sampled_from(["a", " o", "t b", "ink job", "xyz"]), min_size=1))
def test_a_stop_string_ends_the_text_before_it_and_the_stream_says_the_same(
    seed: int, max_tokens: int, stop: list[str]
) -> None:
    sampling = Sampling(max_tokens, ignore_eos=True, stop=tuple(stop))
    whole = plan_answer(seed, Sampling(max_tokens, ignore_eos=True)).text()
    answer = plan_answer(seed, sampling)
    deltas = list(answer.deltas())
    assert len(deltas) == answer.tokens
    assert "".join(deltas) == answer.text()
    if answer.finish_reason == "stop":
        assert answer.stop_reason is not None
        assert whole.startswith(answer.text() + answer.stop_reason)
        assert answer.tokens == count_tokens(answer.text() + answer.stop_reason)
    else:
        assert answer.text() == whole
    assert not any(string in answer.text() for string in stop)


@given(SEEDS, st.integers(1, 60))
def test_a_stop_string_is_not_looked_for_within_min_tokens(seed: int, min_tokens: int) -> None:
    answer = plan_answer(seed, Sampling(60, min_tokens, ignore_eos=True, stop=(" ",)))
    assert answer.tokens == min(min_tokens + 1, 60)
