"""What another request costs on an endpoint, and the columns in which that is kept."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.board import prices_of, standings_of
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.load import Load
from fairlead_router.decisions.pace import EngineLimits, Pace
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.policies.rad import least_delay
from fairlead_router.decisions.price import Price, price_of
from fairlead_router.decisions.types import Demand, EndpointView, RequestView, Ticket, Usage

LIMITS = EngineLimits(64, 512, 100_000)
counts = st.integers(0, 3000)


def load(prefill_tokens: int = 0, decodes: int = 0) -> Load:
    made = Load()
    made.prefill_tokens, made.decodes = prefill_tokens, decodes
    return made


def cost_of(price: Price, tokens: int, output_tokens: int) -> float:
    """What a request costs that has so many tokens to compute and is expected to answer with so many."""
    further = max(0, tokens - price.room_tokens)
    answer = output_tokens * price.per_output_token
    return price.fixed + tokens * price.per_prompt_token + further * price.per_further_token + answer


@given(counts, st.integers(0, 500), st.integers(1, 10_000))
def test_the_first_token_of_a_prompt_costs_what_the_pace_predicts_but_for_the_last_batch(before, decodes, tokens):
    pace = Pace()
    predicted = pace.prefill_seconds(before + tokens, decodes, LIMITS.batch_tokens)
    cost = cost_of(price_of(load(before, decodes), pace, LIMITS), tokens, 0) - tokens * decodes * pace.token_seconds
    assert cost == pytest.approx(predicted, abs=pace.batch_seconds(LIMITS.batch_tokens))


@given(counts, st.integers(0, 500), st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 500))
def test_more_costs_more(before, decodes, tokens, more, output_tokens):
    price = price_of(load(before, decodes), Pace(), LIMITS)
    assert cost_of(price, tokens, output_tokens) <= cost_of(price, tokens + more, output_tokens) + 1e-9
    assert (
        cost_of(price, tokens, output_tokens)
        <= cost_of(price_of(load(before + more, decodes), Pace(), LIMITS), tokens, output_tokens) + 1e-9
    )


asked = st.tuples(st.integers(1, 4000), st.booleans(), st.lists(st.integers(0, 3), max_size=2))
steps = st.lists(st.one_of(asked, st.integers(0, 9)), max_size=40)


@given(steps)
def test_what_is_kept_of_endpoints_is_what_they_are(steps):
    decider = Decider(POLICIES["rad"](Random(0)))
    decider.set_endpoints([EndpointView(uid, "x:1", EndpointState.READY, uid, limits=LIMITS) for uid in "abc"])
    running: list[Ticket] = []
    for number, step in enumerate(steps):
        now = number * 0.1
        if isinstance(step, tuple):
            tokens, streamed, prefix = step
            ends = (64, 128)
            request = RequestView(
                "r", "m", "c", now, streamed=streamed, prompt_tokens=tokens, prefix=tuple(prefix), prefix_ends=ends
            )
            running.append(decider.submit(request, now).ticket)
        elif running:
            ticket = running[step % len(running)]
            if step < 5:
                decider.first_byte(ticket, now)
            else:
                running.remove(ticket)
                decider.end(ticket, Reason.COMPLETED, now, 200, Usage(10, 10))
        board = decider._endpoints.ready
        assert list(prices_of(board)[1]) == [price_of(each.load, each.pace, each.limits) for each in board]
        assert standings_of(board) == [each.standing for each in board]
        assert [each.decodes for each in standings_of(board)] == [each.load.decodes for each in board]
        wanted = Demand(RequestView("r", "m", "c", 0.0), 700, 50, {"a": 64})
        assert list(least_delay(wanted, board)) == pytest.approx(
            [
                -cost_of(price_of(each.load, each.pace, each.limits), wanted.tokens_to_compute(each.uid), 50)
                for each in board
            ]
        )
