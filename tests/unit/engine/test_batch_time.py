"""Batch-time models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.batch_time import PROFILES, Linear
from fairlead_engine.types import Batch, Decode, PrefillChunk

MISTRAL = PROFILES["mistral-7b-rtx6000-ada"]
CHUNKS = [
    (64, 724.32), (128, 386.26), (256, 238.84), (384, 243.89), (512, 212.16), (768, 204.89), (1024, 201.52),
]  # fmt: skip
"""Tokens per chunk, and the measured TTFT of a 2048-token prompt in ms (arXiv 2508.01002)."""


def decodes(*contexts: int) -> tuple[Decode, ...]:
    return tuple(Decode(f"d{i}", context) for i, context in enumerate(contexts))


@pytest.mark.parametrize(
    ("batch", "milliseconds"),
    [
        # A lone decode: the weights are read once (15.6), the overhead (6.7) and 2048 tokens of keys and values.
        (Batch(decodes(2048)), 15.6 + 6.7 + 2048 * 131_072 / 768e9 * 1e3),
        # 185 tokens are padded to 192: 0.0825 * 192 = 15.84 > 15.6.
        (Batch(prefills=(PrefillChunk("p", 185, 0),)), 15.84 + 6.7 + 8e-6 * 185 * 92.5),
        # The second chunk of 512 attends to the first.
        (Batch(prefills=(PrefillChunk("p", 512, 512),)), 42.24 + 6.7 + 8e-6 * 512 * 768),
        # Two decodes ride along with a chunk of 510: 512 tokens.
        (Batch(decodes(100, 300), (PrefillChunk("p", 510, 0),)), 42.24 + 6.7 + 8e-6 * 510 * 255 + 400 * 1.7066667e-4),
    ],
)
def test_the_mistral_profile_is_the_published_fit(batch: Batch, milliseconds: float) -> None:
    assert MISTRAL.seconds(batch) * 1e3 == pytest.approx(milliseconds, rel=1e-6)


@pytest.mark.parametrize(("chunk", "measured_ms"), CHUNKS)
def test_the_mistral_profile_agrees_with_the_measured_ttft_within_6_percent(chunk: int, measured_ms: float) -> None:
    chunks = [Batch(prefills=(PrefillChunk("p", min(chunk, 2048 - x), x),)) for x in range(0, 2048, chunk)]
    assert sum(map(MISTRAL.seconds, chunks)) * 1e3 == pytest.approx(measured_ms, rel=0.06)


def test_a_linear_model_is_a_base_plus_a_time_per_token() -> None:
    batch = Batch(decodes(10, 20), (PrefillChunk("p", 30, 0),))
    assert Linear(base_seconds=0.5, token_seconds=0.01).seconds(batch) == pytest.approx(0.5 + 32 * 0.01)


@pytest.mark.parametrize("name", sorted(PROFILES))
@given(running=st.integers(1, 200), context=st.integers(1, 8000))
def test_one_more_request_never_makes_a_batch_quicker(name: str, running: int, context: int) -> None:
    profile = PROFILES[name]
    batch, larger = Batch(decodes(*[context] * running)), Batch(decodes(*[context] * (running + 1)))
    assert 0 < profile.seconds(batch) <= profile.seconds(larger)
