"""RAD: resource-aware dynamic routing."""

from collections.abc import Sequence

from fairlead_router.decisions.adapters import adapter_seconds
from fairlead_router.decisions.types import Candidate, Demand


def least_delay(demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by the seconds that a request costs: itself until its last token, and everybody who runs beside it.

    Its first token comes when the prompts before it and its own are computed; cached prefixes make that shorter. Each of
    its tokens then takes a batch, which it makes longer for all others there. In a pool of engines that are alike this
    weighs prompts that wait against answers that run by what they cost; where they differ, by what they cost there.
    """
    return [-_cost_seconds(demand, each) for each in candidates]


def _cost_seconds(demand: Demand, endpoint: Candidate) -> float:
    load, pace = endpoint.load, endpoint.pace
    decodes = load.decodes
    tokens = demand.tokens_to_compute(endpoint.uid)
    first = pace.prefill_seconds(load.prefill_tokens + tokens, decodes, endpoint.limits.batch_tokens)
    slower = pace.token_seconds * decodes
    if demand.adapted:
        first += adapter_seconds(demand, endpoint)
    return first + demand.output_tokens * (pace.batch_seconds(decodes + 1) + slower) + tokens * slower
