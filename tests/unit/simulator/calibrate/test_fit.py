"""Fitting a batch-time model to measurements."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_engine.batch_time import PROFILES, Roofline
from fairlead_simulator.calibrate.fit import Measurement, fit, predicted_seconds

CARD = PROFILES["mistral-7b-rtx6000-ada"]
assert isinstance(CARD, Roofline)
EXACT = replace(CARD, pad_tokens=1)

SHAPES = [
    *((n, n * n / 2, 0) for n in (32, 64, 128, 192, 256, 384, 512)),
    *((n, 0.0, n * context) for n in (1, 4, 16, 64) for context in (32, 1024)),
]


def measured(model: Roofline, noise: float = 0.0) -> list[Measurement]:
    """What an engine of that model would show, every other time a little too slow or too fast."""
    found = []
    for number, (tokens, pairs, context) in enumerate(SHAPES):
        exact = predicted_seconds(model, Measurement(tokens, pairs, context, 1.0))
        found.append(Measurement(tokens, pairs, context, exact * (1 + noise * (-1) ** number)))
    return found


def test_the_model_behind_exact_measurements_is_found() -> None:
    fitted = fit(measured(EXACT))
    assert fitted.largest_error < 0.01
    assert fitted.model.context_token_seconds == pytest.approx(EXACT.context_token_seconds, rel=0.05)


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
    "few", [[], measured(EXACT)[:4], [Measurement(8, 32.0, 0, 0.01)] * 9], ids=["none", "four", "one size"]
)
def test_too_few_measurements_are_refused(few: list[Measurement]) -> None:
    with pytest.raises(ValueError, match="a fit needs more than 4 measurements of at least 2 batch sizes"):
        fit(few)
