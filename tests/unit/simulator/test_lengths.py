"""Lengths of a conversational workload."""

from pathlib import Path
from statistics import mean

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fairlead_simulator.cli import simulate
from fairlead_simulator.lengths import LONGEST_TOTAL_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, SHARES, quantile, take

TRACE = Path(__file__).parents[3] / "examples" / "traces" / "conversation.csv"
DRAWN = take(30_000, seed=3)


@given(st.integers(0, 2**32))
def test_every_request_has_a_prompt_and_an_output_and_fits_the_longest_total(seed: int) -> None:
    for request in take(20, seed):
        assert request.prompt_tokens >= 1
        assert request.output_tokens >= 2
        assert request.prompt_tokens + request.output_tokens <= LONGEST_TOTAL_TOKENS


@pytest.mark.parametrize("values", [PROMPT_TOKENS, OUTPUT_TOKENS])
def test_the_published_quantiles_are_met_exactly(values: tuple[float, ...]) -> None:
    assert [quantile(share, values) for share in SHARES] == [round(value) for value in values]


def test_the_means_are_near_the_published_ones() -> None:
    # published: 2340.0 and 438.7 tokens; straight lines between quantiles shift them by a few per cent
    assert mean(r.prompt_tokens for r in DRAWN) == pytest.approx(2340.0, rel=0.05)
    assert mean(r.output_tokens for r in DRAWN) == pytest.approx(438.7, rel=0.05)


def test_the_same_seed_gives_the_same_requests_and_another_seed_others() -> None:
    assert take(50, seed=1) == take(50, seed=1) != take(50, seed=2)


def test_the_shipped_trace_is_what_the_command_writes() -> None:
    written = CliRunner().invoke(simulate, ["lengths"]).stdout
    assert written == TRACE.read_text()


def test_a_number_of_requests_below_one_is_refused_in_one_line() -> None:
    refused = CliRunner().invoke(simulate, ["lengths", "--requests", "0"])
    assert refused.exit_code == 2
    assert "--requests" in refused.stderr
