"""How fast an endpoint works: the time of a batch by the tokens in it, fitted online from what the router sees.

The model is the engine core's own (`fairlead_engine.batch_time`, shape `Linear`): T(n) = base + token * n. Nobody tells
the router what was in a batch. But between a stream's first token and its last, an engine runs as many batches as the
stream gets tokens, and the ledger knows what else ran there meanwhile: the mean tokens per batch and the mean seconds per
batch are one observation for a weighted least-squares fit that forgets. Pods may differ: each has a fit of its own, and
begins with that of the pool. Choices between endpoints go by what is different in earnest (`speed`).
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final

from fairlead_router.decisions.speed import ALIKE, CLOSE, Speed

_FORGET: Final = 0.98
"""Weight of all older observations after one more."""
_FULL_WEIGHT_BATCHES: Final = 64
"""A stream of so many batches has full weight."""
_FEWEST_BATCHES: Final = 4
"""Of a shorter stream little is to be learnt."""
_USUAL: Final = ((1.0, 0.02), (1024.0, 0.12))
"""Tokens and seconds of batches on a usual GPU: what is taken for known."""
_PRIOR_WEIGHT: Final = 0.02
"""Of each of them: next to nothing, but where all observations are of like batches, it says how others would be."""
_FIT_EVERY: Final = 8
"""Observations, once there are some: one more changes little."""
_LEARNT: Final = 8
"""Observations before a fit is more than a guess."""
_TRUSTED_ERROR: Final = 0.5
"""Of predicted TTFTs: beyond it, a pace is not believed."""
_ERROR_WEIGHT: Final = 0.05
_BIAS_WEIGHT: Final = 0.05
_BIAS_BOUNDS: Final = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine can do at a time; where nobody knows, what vLLM does on a large GPU without being told.

    An engine that can do less shows it: requests that do not run yet have no first token, and their prompts fill the next
    batches as far as anybody can see.
    """

    max_num_seqs: int = 1024
    """Requests that run."""
    batch_tokens: int = 2048
    """Token budget of a batch: prompts are computed in chunks of what decodes leave of it."""
    kv_tokens: int | None = None
    """Tokens that its KV memory holds; None where it is not known."""


USUAL_LIMITS: Final = EngineLimits()


class Pace:
    """The fit of one endpoint, or of the pool, which learns from all of them."""

    __slots__ = (
        "_apart",
        "_known",
        "_n",
        "_nn",
        "_nt",
        "_observations",
        "_own",
        "_pool",
        "_prior",
        "_ratio",
        "_since_fit",
        "_t",
        "_w",
        "base_seconds",
        "bias",
        "error",
        "token_seconds",
    )

    def __init__(self, pool: "Pace | None" = None) -> None:
        """Begin as the pool's is, or as is usual; that goes on to count, a little."""
        self._w = self._n = self._nn = self._t = self._nt = 0.0
        self._since_fit = 0
        self.bias: float = 1.0 if pool is None else pool.bias
        """By what predictions of TTFTs are corrected."""
        self._ratio = 1.0  # of observed to predicted TTFTs, as of late: the pool's
        self._apart = 1.0  # own bias over the pool's: a pool that is late as a whole does not make engines different
        self.error = 0.0
        """Relative error of predicted TTFTs, as of late."""
        self._pool = pool
        self._known: int = pool._observations if pool else 0  # of others, which the prior is made of
        self._observations: int = 0
        self._prior = _USUAL if pool is None else tuple((n, pool.batch_seconds(n)) for n, _ in _USUAL)
        self._own: Speed | None = None
        self._fit()

    @property
    def trusted(self) -> bool:
        """Whether decisions may rely on it: it has been learnt, and predicts well."""
        return self.learnt and self.error <= _TRUSTED_ERROR

    @property
    def learnt(self) -> bool:
        """Whether it is more than a guess."""
        return self._known + self._observations >= _LEARNT

    @property
    def seen_tokens(self) -> tuple[float, float]:
        """Tokens in the batches that were observed: their mean, and the root of their mean square."""
        if not self._w:
            return _USUAL[0][0], _USUAL[0][0]
        return self._n / self._w, sqrt(self._nn / self._w)

    @property
    def common(self) -> Speed:
        """What choices take the pool's engines for."""
        pool = self._pool or self
        return pool._own or Speed.of(pool)

    @property
    def speed(self) -> Speed:
        """What choices take this engine for."""
        return self._own or self.common

    def observe(self, tokens_per_batch: float, seconds_per_batch: float, batches: int) -> None:
        """Learn from a stream that saw so many batches."""
        if batches < _FEWEST_BATCHES:
            return
        if self._pool is not None:
            self._pool.observe(tokens_per_batch, seconds_per_batch, batches)
        self._observations += 1
        self._w *= _FORGET
        self._n *= _FORGET
        self._nn *= _FORGET
        self._t *= _FORGET
        self._nt *= _FORGET
        self._add(tokens_per_batch, seconds_per_batch, min(1.0, batches / _FULL_WEIGHT_BATCHES))
        self._since_fit += 1
        if self._since_fit >= _FIT_EVERY or self._w < _FIT_EVERY:
            self._fit()

    def predicted(self, predicted_seconds: float, observed_seconds: float) -> None:
        """Learn how good a prediction of a TTFT was."""
        if predicted_seconds <= 0 or observed_seconds <= 0:
            return
        low, high = _BIAS_BOUNDS
        ratio = observed_seconds / predicted_seconds
        self.error += _ERROR_WEIGHT * (abs(1.0 - 1.0 / ratio) - self.error)
        ratio = min(high, ratio)
        if self._pool is None:
            self._ratio += _BIAS_WEIGHT * (ratio - self._ratio)
            self.bias = min(high, max(low, self.bias * (1.0 + _BIAS_WEIGHT * (ratio - 1.0))))
        else:
            self._pool.predicted(predicted_seconds, observed_seconds)
            self._apart = min(high, max(low, self._apart * (1.0 + _BIAS_WEIGHT * (ratio / self._pool._ratio - 1.0))))
            self.bias = min(high, max(low, self._pool.bias * self._apart))

    def batch_seconds(self, tokens: float) -> float:
        """Predict the time of a batch of so many tokens."""
        return self.base_seconds + self.token_seconds * tokens

    def prefill_rate(self, decodes: int, batch_tokens: int) -> float:
        """Predict how many prompt tokens are computed in a second, in chunks beside so many decodes."""
        return max(1, batch_tokens - decodes) / (self.batch_seconds(batch_tokens) * self.bias)

    def prefill_seconds(self, prefill_tokens: float, decodes: int, batch_tokens: int) -> float:
        """Predict how long so many prompt tokens take, in chunks beside so many decodes."""
        room = max(1, batch_tokens - decodes)
        full = int(prefill_tokens // room)
        rest = prefill_tokens - full * room
        seconds = full * self.batch_seconds(batch_tokens)
        if rest > 0:
            seconds += self.batch_seconds(decodes + ceil(rest))
        return seconds * self.bias

    def _add(self, tokens: float, seconds: float, weight: float) -> None:
        self._w += weight
        self._n += weight * tokens
        self._nn += weight * tokens * tokens
        self._t += weight * seconds
        self._nt += weight * tokens * seconds

    def _fit(self) -> None:
        """Solve for base and slope, neither of them negative."""
        self._since_fit = 0
        w, n, nn, t, nt = self._w, self._n, self._nn, self._t, self._nt
        for tokens, seconds in self._prior:
            w += _PRIOR_WEIGHT
            n += _PRIOR_WEIGHT * tokens
            nn += _PRIOR_WEIGHT * tokens * tokens
            t += _PRIOR_WEIGHT * seconds
            nt += _PRIOR_WEIGHT * tokens * seconds
        slope = (nt - n * t / w) / (nn - n * n / w)
        self.token_seconds = min(max(0.0, slope), t / n)
        self.base_seconds = max(0.0, (t - self.token_seconds * n) / w)
        self._settle()

    def _settle(self) -> None:
        """Change what choices go by where it is no longer like what has been learnt."""
        if self._pool is None:
            if self._own is None or not self._own.like(self, CLOSE):
                self._own = Speed.of(self)
        elif self._observations < _LEARNT or self.common.like(self, ALIKE):
            self._own = None
        else:
            self._own = Speed.of(self)
