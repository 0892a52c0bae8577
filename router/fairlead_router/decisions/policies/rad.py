"""RAD: resource-aware dynamic routing."""

from collections.abc import Sequence

from fairlead_router.decisions.adapters import adapter_seconds
from fairlead_router.decisions.board import prices_of
from fairlead_router.decisions.types import Candidate, Demand


def least_delay(demand: Demand, candidates: Sequence[Candidate]) -> Sequence[float]:
    """Score by the seconds that a request costs: itself until its last token, and everybody who runs beside it.

    Its first token comes when the prompts before it and its own are computed; cached prefixes make that shorter. Each of
    its tokens then takes a batch, which it makes longer for all others there. In a pool of engines that are alike this
    weighs prompts that wait against answers that run by what they cost; where they differ, by what they cost there.
    """
    _, prompt_tokens, output_tokens, cached, adapted = demand
    uids, prices = prices_of(candidates)
    scores = [  # in a pass without calls: there are many endpoints
        -(fixed + tokens * per_prompt + output_tokens * per_output)
        if (tokens := prompt_tokens - cached.get(uid, 0)) <= room
        else -(fixed + tokens * per_prompt + output_tokens * per_output + (tokens - room) * per_further)
        for uid, (room, fixed, per_prompt, per_further, per_output) in zip(uids, prices, strict=True)
    ]
    if adapted:
        return [score - adapter_seconds(demand, each) for score, each in zip(scores, candidates, strict=True)]
    return scores
