"""Workloads: arrivals, lengths and users together."""

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from fairlead_simulator.arrivals import Poisson
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.workload import Conversations, Fixed, ShareGpt, TraceLengths, User, Workload

ROWS = tuple(Lengths(10 + row, 5) for row in range(100))


def test_the_same_fields_give_the_same_requests() -> None:
    workload = Workload(Poisson(), ShareGpt(), requests=200, seed=3)
    assert list(workload.calls(2.0)) == list(workload.calls(2.0))


def test_another_rate_changes_when_requests_come_and_nothing_else() -> None:
    workload = Workload(Poisson(), TraceLengths(ROWS), requests=200)
    slow, fast = list(workload.calls(1.0)), list(workload.calls(4.0))
    assert [call.lengths for call in slow] == [call.lengths for call in fast]
    assert [call.user for call in slow] == [call.user for call in fast]
    assert [call.seconds for call in slow] == pytest.approx([4 * call.seconds for call in fast])


def test_a_trace_is_shuffled_by_the_seed_and_every_row_comes_before_any_comes_again() -> None:
    drawn = list(islice(TraceLengths(ROWS).lengths(Random(1)), 250))
    assert sorted(drawn[:100], key=lambda item: item.prompt_tokens) == list(ROWS)
    assert drawn[:100] != list(ROWS)
    assert set(drawn[100:200]) == set(ROWS)
    assert list(islice(TraceLengths(ROWS, shuffled=False).lengths(Random(1)), 100)) == list(ROWS)


def test_users_have_their_share_of_the_requests() -> None:
    users = (User("a", 0.05, 0.1), User("b", 0.15, 0.2), User("c", 0.8, 0.5))
    workload = Workload(Poisson(), Fixed(Lengths(1, 1)), users, requests=20_000)
    counts = Counter(call.user for call in workload.calls(1.0))
    assert [counts[index] / 20_000 for index in range(3)] == pytest.approx([0.05, 0.15, 0.8], abs=0.01)


@pytest.mark.parametrize("source", [ShareGpt(), Fixed(Lengths(290, 990)), Conversations(turns=3, active=4)])
def test_no_request_is_longer_than_the_source_says(source: ShareGpt | Fixed | Conversations) -> None:
    for drawn in islice(source.lengths(Random(2)), 5000):
        assert drawn.prompt_tokens <= source.longest.prompt_tokens
        total = source.longest.prompt_tokens + source.longest.output_tokens
        assert drawn.prompt_tokens + drawn.output_tokens <= total


class TestConversations:
    def turns(self, **options: int) -> list[Lengths]:
        return list(islice(Conversations(**options).lengths(Random(4)), 12))

    def test_a_turn_begins_with_all_blocks_of_the_turn_before(self) -> None:
        turns = self.turns(turns=4, active=1, system=64)
        for before, after in pairwise(turns[:4]):
            assert after.block_hashes[: len(before.block_hashes)] == before.block_hashes
            assert after.prompt_tokens > before.prompt_tokens + before.output_tokens

    def test_conversations_share_the_system_prompt_and_nothing_else(self) -> None:
        turns = self.turns(turns=1, active=1, system=64)
        assert {turn.block_hashes[:4] for turn in turns} == {turns[0].block_hashes[:4]}
        later = [block for turn in turns for block in turn.block_hashes[4:]]
        assert len(later) == len(set(later))

    def test_a_conversation_ends_after_its_turns(self) -> None:
        turns = self.turns(turns=3, active=1)
        assert turns[3].block_hashes[-1] not in turns[2].block_hashes
        assert turns[3].prompt_tokens < turns[2].prompt_tokens

    @pytest.mark.parametrize("name", ["turns", "user", "answer", "active"])
    def test_a_parameter_out_of_range_is_named(self, name: str) -> None:
        with pytest.raises(ValueError, match=name):
            Conversations(**{name: 0})
