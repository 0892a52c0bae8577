"""Fitting a batch-time model to measurements."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_engine.batch_time import PROFILES, Roofline
from fairlead_simulator.calibrate.fit import Measurement, fit, predicted_seconds, prompt_measurement

CARD = PROFILES["mistral-7b-rtx6000-ada"]
assert isinstance(CARD, Roofline)
EXACT = replace(CARD, pad_tokens=1)

SHAPES = [
    *(prompt_measurement(n, 512, 1.0) for n in (32, 64, 128, 192, 256, 384, 512, 1024, 2048, 4096)),
    *(Measurement((n,), 0.0, n * context, 1.0) for n in (1, 4, 16, 64) for context in (32, 1024)),
]


def measured(model: Roofline, noise: float = 0.0) -> list[Measurement]:
    """What an engine of that model would show, every other time a little too slow or too fast."""
    exact = [replace(shape, seconds=predicted_seconds(model, shape)) for shape in SHAPES]
    return [replace(m, seconds=m.seconds * (1 + noise * (-1) ** number)) for number, m in enumerate(exact)]


@given(st.integers(1, 10_000), st.integers(1, 8192))
def test_a_prompt_is_cut_into_batches_of_the_budget_and_a_rest(tokens: int, budget: int) -> None:
    made = prompt_measurement(tokens, budget, 1.0)
    assert made.tokens == tokens
    assert all(size == budget for size in made.batches[:-1])
    assert 1 <= made.batches[-1] <= budget


def test_the_model_behind_exact_measurements_is_found() -> None:
    fitted = fit(measured(EXACT))
    assert fitted.largest_error < 0.01
    for coefficient in ("token_seconds", "prefill_pair_seconds", "context_token_seconds"):
        assert getattr(fitted.model, coefficient) == pytest.approx(getattr(EXACT, coefficient), rel=0.05), coefficient


def test_measurements_that_err_by_three_per_cent_give_a_model_that_errs_little_more() -> None:
    fitted = fit(measured(EXACT, noise=0.03))
    assert fitted.mean_error < 0.04
    truth = measured(EXACT)
    assert max(abs(predicted_seconds(fitted.model, m) / m.seconds - 1) for m in truth) < 0.06


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-3), st.floats(0, 0.02), st.floats(0, 1e-6))
def test_no_coefficient_is_ever_below_zero(floor: float, token: float, overhead: float, context: float) -> None:
    model = fit(measured(Roofline(floor, token, 1, overhead, 0.0, context), noise=0.05)).model
    assert min(model.floor_seconds, model.token_seconds, model.overhead_seconds) >= 0
    assert min(model.prefill_pair_seconds, model.context_token_seconds) >= 0


@pytest.mark.parametrize(
    "few", [[], measured(EXACT)[:4], [Measurement((8,), 32.0, 0, 0.01)] * 9], ids=["none", "four", "one size"]
)
def test_too_few_measurements_are_refused(few: list[Measurement]) -> None:
    with pytest.raises(ValueError, match="a fit needs more than 4 measurements of at least 2 batch sizes"):
        fit(few)
