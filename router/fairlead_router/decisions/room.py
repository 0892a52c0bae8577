"""Whether an endpoint has room for a request: RAD's resources (arXiv 2508.01002, section 5) seen from the router.

An engine computes prompts and decodes in batches of so many tokens. It has room as long as another request makes its next
batches fuller, fits its memory, and leaves the running streams within their TBT limits. Beyond that a request is better
kept where it can still go elsewhere, behind others, or back. So nothing is held that an endpoint could use: one whose
batches are not full always takes more. One that has a part of the prompt cached takes it as long as it is no later done
with the rest, behind all that waits there, than an endpoint that is idle and has nothing.

What is not known does not count: no memory without a limit on it, and no TBT before the endpoint's pace has been learnt.
"""

from typing import Final

from fairlead_router.contract import TelemetryState
from fairlead_router.decisions.types import Demand, Occupied

KV_SHARE: Final = 0.95
"""Of the KV memory is given away; what requests will take is an estimate."""
KV_SHARE_UNSEEN: Final = 0.8
"""Of that of an engine that does not say any more how much is taken, perhaps by others."""
AHEAD_BATCHES: Final = 2
"""Of prompts that an engine should have, the one that it runs among them, where it is known how fast it computes them."""
_STALE: Final = TelemetryState.STALE


def has_room(endpoint: Occupied, demand: Demand, now: float, *, owed: bool = False) -> bool:
    """Whether an endpoint should get this request now; one whose class is owed its share may slow others down."""
    in_flight = endpoint.in_flight
    if in_flight == 0:
        return True
    load, limits = endpoint.load, endpoint.limits
    if in_flight >= limits.max_num_seqs:
        return False
    before = load.prefill_tokens
    if before >= limits.batch_tokens and before + demand.tokens_to_compute(endpoint.uid) > demand.prompt_tokens:
        if not endpoint.pace.trusted:
            return False
        # What is not seen can be reckoned. The engine does not wait: one batch runs until it has the next prompt.
        # Where first tokens come later than predicted, prompts of others are there as well.
        left = load.prefill_left(now, endpoint.pace.prefill_rate(load.decodes, limits.batch_tokens))
        if left * max(1.0, endpoint.pace.bias) >= AHEAD_BATCHES * limits.batch_tokens:
            return False
    if limits.kv_tokens is not None and not _fits(endpoint, demand, limits.kv_tokens):
        return False
    return owed or _within_tbt(endpoint, demand)


def _fits(endpoint: Occupied, demand: Demand, kv_tokens: int) -> bool:
    """Whether a request fits the memory: by what was placed there or, where that is more, by what the engine says."""
    taken: float = endpoint.load.kv_tokens
    usage = endpoint.report.kv_usage
    if usage is not None and usage * kv_tokens > taken:
        taken = usage * kv_tokens
    share = KV_SHARE_UNSEEN if endpoint.telemetry is _STALE else KV_SHARE
    return taken + demand.tokens_to_compute(endpoint.uid) + demand.output_tokens <= share * kv_tokens


def _within_tbt(endpoint: Occupied, demand: Demand) -> bool:
    """Whether the batches with this request stay within the TBT limits of all that run there, and its own."""
    load, pace = endpoint.load, endpoint.pace
    own = demand.request.slo.tbt_seconds
    if (own is None and not load.tbt_limits) or not pace.trusted:
        return True
    least = pace.batch_seconds(1)
    # Holding requests back would not keep a limit that every batch breaks; it does not lift the others either.
    tightest = load.tightest_tbt_seconds(least)
    if own is not None and own >= least and (tightest is None or own < tightest):
        tightest = own
    if tightest is None:
        return True
    tokens = load.decodes + 1 + load.prefill_tokens + demand.tokens_to_compute(endpoint.uid)
    return pace.batch_seconds(min(endpoint.limits.batch_tokens, tokens)) <= tightest
