"""Fit a batch-time model to measured batches.

The model is the roofline of `fairlead_engine.batch_time`: small batches take the time to read the weights once, large
ones the time to compute their tokens, and keys and values add a term for every token of context:

    T = token * max(knee, n) + overhead + prefill_pair * sum k(x + k/2) + context_token * sum L

For a given knee the other four are a linear least-squares fit, so the knee alone is searched. Residuals are relative: a
batch of 5 ms counts as much as one of 500 ms. Coefficients below zero have no meaning; one that comes out so is fixed at
zero and the others are fitted again. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from fairlead_engine.batch_time import Roofline

COEFFICIENTS = 4


@dataclass(frozen=True, slots=True)
class Measurement:
    """Batches one after the other and the time they took together, the median of several."""

    batches: tuple[int, ...]
    """Tokens that each batch computed: chunks of prompts, and one a decode."""
    prefill_pairs: float
    """Sum of k(x + k/2) over chunks of k tokens after x."""
    context_tokens: int
    """Tokens in the KV cache of the decodes, all together."""
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens of all batches together."""
        return sum(self.batches)


def prompt_measurement(tokens: int, budget_tokens: int, seconds: float) -> Measurement:
    """Say what a prompt alone is: batches of the token budget, and one with the rest."""
    full, rest = divmod(tokens, budget_tokens)
    batches = (budget_tokens,) * full + ((rest,) if rest else ())
    # the pairs of all chunks add up to those of the whole prompt, however it is cut
    return Measurement(batches, tokens**2 / 2, 0, seconds)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model, and how far it is from what was measured."""

    model: Roofline
    mean_error: float
    """Mean of |predicted - measured| / measured."""
    largest_error: float


def predicted_seconds(model: Roofline, measured: Measurement) -> float:
    """Give the model's time for measured batches."""
    return (
        sum(max(model.floor_seconds, model.token_seconds * tokens) for tokens in measured.batches)
        + model.overhead_seconds * len(measured.batches)
        + model.prefill_pair_seconds * measured.prefill_pairs
        + model.context_token_seconds * measured.context_tokens
    )


def fit(measurements: Sequence[Measurement]) -> Fit:
    """Fit the model to at least five measurements of at least two different sizes.

    Raises
    ------
    ValueError
        There are too few measurements, or they cannot tell the coefficients apart.

    """
    sizes = {tokens for measured in measurements for tokens in measured.batches}
    if len(measurements) <= COEFFICIENTS or len(sizes) < 2:
        raise ValueError(
            f"a fit needs more than {COEFFICIENTS} measurements of at least 2 batch sizes, not {len(measurements)} "
            f"of {len(sizes)}"
        )
    fits = [fitted for knee in _knees(sizes) if (fitted := _fit_with_knee(measurements, knee)) is not None]
    if not fits:
        raise ValueError("the measurements do not tell the coefficients apart: measure more batch sizes")
    return min(fits, key=lambda fitted: _squared_error(fitted.model, measurements))


def _knees(sizes: Iterable[int]) -> list[float]:
    """Give knees to try: none, and finely from the smallest to the largest batch."""
    low, high = min(sizes), max(sizes)
    steps = 200
    return [0.0, *(low * (high / low) ** (step / steps) for step in range(steps))]


def _fit_with_knee(measurements: Sequence[Measurement], knee: float) -> Fit | None:
    rows = [
        [sum(max(knee, tokens) for tokens in m.batches), len(m.batches), m.prefill_pairs, m.context_tokens]
        for m in measurements
    ]
    coefficients = _non_negative_least_squares(rows, [m.seconds for m in measurements])
    if coefficients is None:
        return None
    token, overhead, pair, context = coefficients
    model = Roofline(
        floor_seconds=token * knee,
        token_seconds=token,
        pad_tokens=1,
        overhead_seconds=overhead,
        prefill_pair_seconds=pair,
        context_token_seconds=context,
    )
    errors = [abs(predicted_seconds(model, m) - m.seconds) / m.seconds for m in measurements]
    return Fit(model, sum(errors) / len(errors), max(errors))


def _squared_error(model: Roofline, measurements: Sequence[Measurement]) -> float:
    return sum((predicted_seconds(model, m) / m.seconds - 1) ** 2 for m in measurements)


def _non_negative_least_squares(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float] | None:
    """Minimise the relative residuals with no coefficient below zero, by trying which ones are zero."""
    weighted = [[cell / value for cell in row] for row, value in zip(rows, values, strict=True)]
    width = len(weighted[0])
    best: tuple[float, list[float]] | None = None
    for size in range(1, width + 1):
        for kept in combinations(range(width), size):
            found = _least_squares([[row[column] for column in kept] for row in weighted])
            if found is None or min(found) < 0:
                continue
            coefficients = [0.0] * width
            for column, coefficient in zip(kept, found, strict=True):
                coefficients[column] = coefficient
            error = sum((sum(c * cell for c, cell in zip(coefficients, row, strict=True)) - 1) ** 2 for row in weighted)
            if best is None or error < best[0]:
                best = (error, coefficients)
    return best[1] if best else None


def _least_squares(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Solve for the coefficients that bring every row's sum nearest to 1; None where they are not determined."""
    width = len(rows[0])
    scales = [max(abs(row[column]) for row in rows) or 1.0 for column in range(width)]
    scaled = [[cell / scale for cell, scale in zip(row, scales, strict=True)] for row in rows]
    system = [[sum(row[i] * row[j] for row in scaled) for j in range(width)] for i in range(width)]
    right = [sum(row[i] for row in scaled) for i in range(width)]
    solved = _solve(system, right)
    return [value / scale for value, scale in zip(solved, scales, strict=True)] if solved else None


def _solve(system: list[list[float]], right: list[float]) -> list[float] | None:
    """Solve a small linear system by Gaussian elimination with row exchange; None where it is singular."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(system, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) < 1e-12:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [cell - factor * other for cell, other in zip(rows[row], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]
