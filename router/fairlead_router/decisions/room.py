"""Whether an endpoint has room for a request: RAD's resources (arXiv 2508.01002, section 5) seen from the router.

An engine computes prompts and decodes in batches of so many tokens. It has room as long as another request makes its next
batches fuller, fits its memory, and leaves the running streams within their TBT limits. Beyond that a request is better
kept where it can still go elsewhere, behind others, or back. So nothing is held that an endpoint could use: one whose
batches are not full always takes more. One that has a part of the prompt cached takes it as long as it is no later done
with the rest, behind all that waits there, than an endpoint that is idle and has nothing.
"""

from typing import Final

from fairlead_router.decisions.types import Candidate, Demand

KV_SHARE: Final = 0.95
"""Of the KV memory is given away; what requests will take is an estimate."""
TRUSTED_ERROR: Final = 0.5
"""Of predicted TTFTs: beyond it, an endpoint's pace is not believed, and only what can be counted counts."""


def has_room(endpoint: Candidate, demand: Demand, *, owed: bool = False) -> bool:
    """Whether an endpoint should get this request now; one whose class is owed its share may slow others down."""
    load, limits = endpoint.load, endpoint.limits
    in_flight = endpoint.in_flight
    if in_flight == 0:
        return True
    if in_flight >= limits.max_num_seqs:
        return False
    tokens = demand.tokens_to_compute(endpoint.uid)
    if load.prefill_tokens >= limits.batch_tokens and load.prefill_tokens + tokens > demand.prompt_tokens:
        return False
    needed = load.kv_tokens + tokens + demand.output_tokens
    if limits.kv_tokens is not None and needed > KV_SHARE * limits.kv_tokens:
        return False
    return owed or _within_tbt(endpoint, demand, tokens)


def _within_tbt(endpoint: Candidate, demand: Demand, tokens_to_compute: int) -> bool:
    """Whether the batches with this request stay within the TBT limits of all that run there, and its own."""
    load, limits, pace = endpoint.load, endpoint.limits, endpoint.pace
    if pace.error > TRUSTED_ERROR:
        return True
    tightest = load.tightest_tbt_seconds
    own = demand.request.slo.tbt_seconds
    if tightest is None or (own is not None and own < tightest):
        tightest = own
    if tightest is None:
        return True
    tokens = load.decodes + 1 + load.prefill_tokens + tokens_to_compute
    return pace.batch_seconds(min(limits.batch_tokens, tokens)) <= tightest
