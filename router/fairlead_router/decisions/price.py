"""What another request costs on an endpoint, in seconds: the request itself, and everybody who runs beside it.

The coefficients depend on nothing but the endpoint, so they are worked out once for every change of it, and not for every
decision. A prompt that takes several batches is taken to fill the last one as well, so that the cost stays linear.
"""

from typing import NamedTuple

from fairlead_router.decisions.load import Load
from fairlead_router.decisions.pace import EngineLimits, Pace


class Price(NamedTuple):
    """The coefficients of one endpoint; seconds."""

    room_tokens: int
    """What the next batch has room for, of a prompt."""
    fixed: float
    """Until the next batch is over, as it is: what waits to be computed, and what is decoded."""
    per_prompt_token: float
    per_further_token: float
    """On top, for those that the next batch has no room for."""
    per_output_token: float


def price_of(load: Load, pace: Pace, limits: EngineLimits) -> Price:
    """Work out what a request costs beside others."""
    decodes, before = load.decodes, load.prefill_tokens
    base_seconds, token_seconds, bias = pace.speed
    most = limits.batch_tokens - decodes
    most = max(most, 1)
    slower = token_seconds * decodes  # everybody, by a token more in the batch
    full = (base_seconds + token_seconds * (most + decodes)) / most
    return Price(
        most - before if before < most else 0,
        (base_seconds + token_seconds * (decodes + before) if before < most else full * before) * bias,
        token_seconds * bias + slower,
        (full - token_seconds) * bias,
        base_seconds + token_seconds * (decodes + 1) + slower,
    )
