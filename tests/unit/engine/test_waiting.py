"""The waiting list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.sequences import Sequence
from fairlead_engine.types import Request
from fairlead_engine.waiting import ORDERS, WaitingList


def sequence(number: int, prompt_tokens: int = 1, priority: int = 0) -> Sequence:
    request = Request(f"r{number}", prompt_tokens, 1, priority=priority)
    return Sequence(request, number, arrived=0.0, end_tokens=prompt_tokens)


def drain(waiting: WaitingList) -> list[str]:
    names = []
    while head := waiting.head():
        waiting.take(head)
        names.append(head.request_id)
    return names


@pytest.mark.parametrize(
    ("order", "names"), [("fcfs", "r1 r2 r3 r4"), ("spf", "r4 r2 r3 r1"), ("priority", "r2 r3 r1 r4")]
)
def test_each_order_is_what_its_name_says_and_ties_go_by_arrival(order: str, names: str) -> None:
    waiting = WaitingList(ORDERS[order])
    for number, (prompt, priority) in enumerate([(9, 0), (2, 0), (2, 0), (1, 1)], start=1):
        waiting.add(sequence(number, prompt, priority))
    assert drain(waiting) == names.split()


def test_what_was_preempted_comes_first_the_latest_victim_before_all() -> None:
    waiting = WaitingList(ORDERS["fcfs"])
    waiting.add(sequence(3))
    waiting.add_first(sequence(1))
    waiting.add_first(sequence(2))
    assert drain(waiting) == ["r2", "r1", "r3"]


def test_shortest_prompt_first_counts_the_tokens_that_a_victim_recomputes() -> None:
    waiting = WaitingList(ORDERS["spf"])
    victim = sequence(1, prompt_tokens=2)
    victim.prefill_tokens = 7
    waiting.add_first(victim)
    waiting.add(sequence(2, prompt_tokens=5))
    assert drain(waiting) == ["r2", "r1"]


def test_only_the_head_can_be_taken() -> None:
    waiting = WaitingList(ORDERS["fcfs"])
    first, second = sequence(1), sequence(2)
    waiting.add(first)
    waiting.add(second)
    with pytest.raises(ValueError, match="r2 is not the next of the waiting list"):
        waiting.take(second)


@pytest.mark.parametrize("order", ORDERS)
@given(prompts=st.lists(st.integers(1, 9), max_size=300), data=st.data())
def test_the_order_holds_whoever_is_forgotten_meanwhile(order: str, prompts: list[int], data: st.DataObject) -> None:
    waiting = WaitingList(ORDERS[order])
    alive = [sequence(number, prompt) for number, prompt in enumerate(prompts)]
    for one in alive:
        waiting.add(one)
    for index in data.draw(st.lists(st.integers(0, 299), unique=True)):
        if index < len(alive) and len(waiting) > 1 and alive[index].request_id != "gone":
            waiting.forget(alive[index])
            alive[index].request_id = "gone"
    left = [one for one in alive if one.request_id != "gone"]
    assert len(waiting) == len(left)
    assert drain(waiting) == [one.request_id for one in sorted(left, key=ORDERS[order])]


def test_requests_that_gave_up_waiting_take_no_room_for_long() -> None:
    waiting = WaitingList(ORDERS["fcfs"])
    alive = [sequence(number) for number in range(1000)]
    for one in alive:
        waiting.add(one)
    for one in alive[1:]:
        waiting.forget(one)
    assert len(waiting._heap) < 100
    assert drain(waiting) == ["r0"]
