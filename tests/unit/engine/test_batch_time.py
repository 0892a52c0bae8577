"""Batch-time models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.batch_time import PROFILES, Attention, Linear, Staircase, Table
from fairlead_engine.types import Batch, PrefillChunk

MISTRAL = PROFILES["mistral-7b-rtx6000-ada"]
CHUNKS = [
    (64, 724.32), (128, 386.26), (256, 238.84), (384, 243.89), (512, 212.16), (768, 204.89), (1024, 201.52),
]  # fmt: skip
"""Tokens per chunk, and the measured TTFT of a 2048-token prompt in ms (arXiv 2508.01002)."""


def batch_of(contexts: tuple[int, ...] = (), *prefills: PrefillChunk) -> Batch:
    """Build a batch of decodes by their contexts, and of chunks."""
    return Batch(tuple(f"d{i}" for i in range(len(contexts))), sum(contexts), prefills)


def prompt_of(tokens: int) -> Batch:
    return batch_of((), PrefillChunk("p", tokens, 0))


@pytest.mark.parametrize(
    ("batch", "milliseconds"),
    [
        # A lone decode: the weights are read once (15.6), the overhead (6.7) and 2048 tokens of keys and values.
        (batch_of((2048,)), 15.6 + 6.7 + 2048 * 131_072 / 768e9 * 1e3),
        # 185 tokens are padded to 192: 0.0825 * 192 = 15.84 > 15.6.
        (prompt_of(185), 15.84 + 6.7 + 8e-6 * 185 * 92.5),
        # The second chunk of 512 attends to the first.
        (batch_of((), PrefillChunk("p", 512, 512)), 42.24 + 6.7 + 8e-6 * 512 * 768),
        # Two decodes ride along with a chunk of 510: 512 tokens.
        (batch_of((100, 300), PrefillChunk("p", 510, 0)), 42.24 + 6.7 + 8e-6 * 510 * 255 + 400 * 1.7066667e-4),
    ],
)
def test_the_mistral_profile_is_the_published_fit(batch: Batch, milliseconds: float) -> None:
    assert MISTRAL.seconds(batch) * 1e3 == pytest.approx(milliseconds, rel=1e-6)


@pytest.mark.parametrize(("chunk", "measured_ms"), CHUNKS)
def test_the_mistral_profile_agrees_with_the_measured_ttft_within_6_percent(chunk: int, measured_ms: float) -> None:
    chunks = [batch_of((), PrefillChunk("p", min(chunk, 2048 - x), x)) for x in range(0, 2048, chunk)]
    assert sum(map(MISTRAL.seconds, chunks)) * 1e3 == pytest.approx(measured_ms, rel=0.06)


def test_a_linear_model_is_a_base_plus_a_time_per_token() -> None:
    batch = batch_of((10, 20), PrefillChunk("p", 30, 0))
    assert Linear(base_seconds=0.5, token_seconds=0.01).seconds(batch) == pytest.approx(0.5 + 32 * 0.01)


def test_decodes_can_cost_another_time_than_prompt_tokens() -> None:
    model = Linear(0.5, 0.01, decode_token_seconds=0.1, attention=Attention(context_token_seconds=0.001))
    assert model.seconds(batch_of((10, 20), PrefillChunk("p", 30, 0))) == pytest.approx(0.5 + 0.3 + 0.2 + 0.03)


@pytest.mark.parametrize(("tokens", "milliseconds"), [(1, 46.75), (128, 46.75), (129, 82.22), (512, 153.16)])
def test_a_partly_filled_tile_costs_as_much_as_a_full_one(tokens: int, milliseconds: float) -> None:
    assert PROFILES["codellama-34b-a100"].seconds(prompt_of(tokens)) * 1e3 == pytest.approx(milliseconds)


def test_a_full_tile_of_the_capacity_example_takes_4640_microseconds() -> None:
    assert PROFILES["tiles-128"].seconds(batch_of((100,) * 128)) == pytest.approx(4640e-6)


@pytest.mark.parametrize(("tokens", "seconds"), [(1, 2.0), (10, 2.0), (20, 3.0), (30, 4.0), (50, 6.0)])
def test_a_table_is_linear_between_its_rows_and_beyond(tokens: int, seconds: float) -> None:
    assert Table((10, 30, 40), (2.0, 4.0, 5.0)).seconds(prompt_of(tokens)) == pytest.approx(seconds)


@pytest.mark.parametrize(("tokens", "times"), [((1, 2), (1.0,)), ((1,), (1.0,)), ((2, 2), (1.0, 2.0))])
def test_a_table_that_is_none_is_refused(tokens: tuple[int, ...], times: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="tokens"):
        Table(tokens, times)


def test_a_tile_has_at_least_one_token() -> None:
    with pytest.raises(ValueError, match="tile_tokens must be at least 1, not 0"):
        Staircase(0.0, 1.0, tile_tokens=0)


@pytest.mark.parametrize(
    ("one", "other"),
    [("codellama-34b-a100", "codellama-34b-a100-vidur"), ("codellama-34b-h100", "codellama-34b-h100-blis")],
)
@pytest.mark.parametrize("tokens", [128, 512, 1024])
def test_independent_measurements_of_one_hardware_agree_within_a_factor_of_two(
    one: str, other: str, tokens: int
) -> None:
    ratio = PROFILES[one].seconds(prompt_of(tokens)) / PROFILES[other].seconds(prompt_of(tokens))
    assert 1 / 2 < ratio < 2


@pytest.mark.parametrize("name", sorted(PROFILES))
@given(running=st.integers(1, 200), context=st.integers(1, 8000))
def test_one_more_request_never_makes_a_batch_quicker(name: str, running: int, context: int) -> None:
    profile = PROFILES[name]
    batch, larger = batch_of((context,) * running), batch_of((context,) * (running + 1))
    assert 0 < profile.seconds(batch) <= profile.seconds(larger)
