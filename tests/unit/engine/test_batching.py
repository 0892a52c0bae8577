"""The batch loop's books: what is admitted, computed, preempted and ended. The scheduler is Sarathi-Serve throughout."""

from collections import Counter

import pytest

from fairlead_engine.batching import Core, Limits
from fairlead_engine.blocks import blocks_for
from fairlead_engine.draft import BatchDraft
from fairlead_engine.schedulers.sarathi import SarathiServe
from fairlead_engine.state import State
from fairlead_engine.types import Batch, PrefillChunk, Request

ROOM_FOR_100 = Limits(max_num_batched_tokens=512, num_gpu_blocks=100)


def core_with(*requests: Request, limits: Limits | None = None) -> Core:
    core = Core(limits or Limits(), SarathiServe())
    for request in requests:
        core.add(request, 0.0)
    return core


def step(core: Core) -> Batch:
    """Run one batch that must exist."""
    batch = core.next_batch(0.0)
    assert batch is not None
    core.complete(batch, 0.0)
    return batch


def run_to_the_end(core: Core, limit: int = 100_000) -> list[Batch]:
    batches = []
    while core.running or core.waiting:
        batches.append(step(core))
        assert len(batches) < limit
    return batches


def test_an_engine_without_requests_has_no_batch() -> None:
    assert Core(Limits(), SarathiServe()).next_batch(0.0) is None


def test_a_prompt_is_prefilled_in_chunks_of_the_token_budget() -> None:
    core = core_with(Request("a", 1200, 1))
    chunks = [batch.prefills for batch in run_to_the_end(core)]
    assert chunks == [
        (PrefillChunk("a", 512, 0),),
        (PrefillChunk("a", 512, 512),),
        (PrefillChunk("a", 176, 1024, True),),
    ]


def test_the_first_token_comes_with_the_last_chunk_and_each_decode_brings_one_more() -> None:
    core = core_with(Request("a", 600, 3))
    tokens = []
    while batch := core.next_batch(0.0):
        tokens.append([(token.request_id, token.finished) for token in core.complete(batch, 0.0)])
    assert tokens == [[], [("a", False)], [("a", False)], [("a", True)]]


def test_decodes_come_first_and_prefills_share_what_is_left_of_the_budget() -> None:
    core = core_with(Request("a", 10, 5))
    step(core)
    core.add(Request("b", 600, 5), 0.0)
    core.add(Request("c", 600, 5), 0.0)
    assert step(core) == Batch(("a",), 10, (PrefillChunk("b", 511, 0),), admitted=("b",))
    assert step(core) == Batch(
        ("a",), 11, (PrefillChunk("b", 89, 511, True), PrefillChunk("c", 422, 0)), admitted=("c",)
    )


def test_requests_are_admitted_first_come_first_served_up_to_the_running_limit() -> None:
    limits = Limits(max_num_batched_tokens=100, max_num_seqs=2)
    core = core_with(*(Request(name, 5, 2) for name in "abc"), limits=limits)
    assert step(core).admitted == ("a", "b")
    assert (core.running, core.waiting) == (2, 1)
    step(core)
    assert step(core).admitted == ("c",)


def test_a_prompt_that_does_not_fit_holds_back_those_behind_it() -> None:
    limits = Limits(max_num_batched_tokens=512, max_num_seqs=8, num_gpu_blocks=20)
    core = core_with(Request("a", 160, 9), Request("b", 200, 9), Request("c", 16, 9), limits=limits)
    assert step(core).admitted == ("a",)
    assert step(core).admitted == ()
    assert (core.running, core.waiting) == (1, 2)


def test_an_admission_leaves_one_percent_of_the_blocks_free() -> None:
    core = core_with(
        Request("a", 97 * 16 - 9, 9), Request("b", 3 * 16, 1), Request("c", 2 * 16, 1), limits=ROOM_FOR_100
    )
    while not core.used_blocks:
        step(core)
    # 97 blocks are taken and 3 are free: `b` would take the last one, and `c` waits behind it.
    assert [step(core).admitted for _ in range(4)] == [(), (), (), ()]
    core.abort("b")
    assert step(core).admitted == ("c",)


def test_when_memory_runs_out_the_newest_request_is_preempted_and_recomputed() -> None:
    limits = Limits(max_num_batched_tokens=64, max_num_seqs=2, num_gpu_blocks=6)
    core = core_with(Request("old", 31, 40), Request("new", 31, 5), limits=limits)
    batches = run_to_the_end(core)
    preemptions = [(i, batch) for i, batch in enumerate(batches) if batch.preempted]
    assert [batch.preempted for _, batch in preemptions] == [("new",)]
    recomputed = next(b for b in batches[preemptions[0][0] + 1 :] if b.prefills)
    # Three tokens of `new` were out when no block was free: they are recomputed with the prompt, not generated again.
    assert recomputed.prefills == (PrefillChunk("new", 34, 0, True),)
    assert Counter(request_id for b in batches for request_id in b.decodes) == {"old": 39, "new": 3}


def test_an_abort_frees_the_memory_at_once_and_its_batch_yields_no_token() -> None:
    core = core_with(Request("a", 100, 50), Request("b", 100, 50))
    step(core)
    batch = core.next_batch(0.0)
    assert batch is not None
    held_blocks = core.used_blocks
    assert core.abort("a")
    assert core.used_blocks == held_blocks - blocks_for(101)
    assert [token.request_id for token in core.complete(batch, 0.0)] == ["b"]
    assert core.running == 1


def test_an_abort_reaches_waiting_requests_and_forgives_unknown_ones() -> None:
    core = core_with(Request("a", 100, 50))
    assert core.abort("a")
    assert not core.abort("a")
    assert core.next_batch(0.0) is None


def test_a_request_that_can_never_fit_is_refused_with_its_size() -> None:
    core = Core(Limits(num_gpu_blocks=100), SarathiServe())
    with pytest.raises(ValueError, match="2000 tokens need 125 KV blocks, and a request can have 99"):
        core.add(Request("huge", 1900, 100), 0.0)


def test_an_id_in_use_is_refused() -> None:
    core = core_with(Request("a", 1, 2))
    with pytest.raises(ValueError, match="a is in the engine already"):
        core.add(Request("a", 1, 2), 0.0)


def test_batches_follow_one_another() -> None:
    core = core_with(Request("a", 1, 2))
    batch = core.next_batch(0.0)
    assert batch is not None
    with pytest.raises(RuntimeError):
        core.next_batch(0.0)
    core.complete(batch, 0.0)
    with pytest.raises(RuntimeError):
        core.complete(batch, 0.0)


class PreemptsAll(SarathiServe):
    """A scheduler with a mistake: it takes memory, and does nothing with it."""

    def schedule(self, state: State, now: float) -> Batch:
        draft = BatchDraft(state)
        for sequence in list(state.decoding):
            draft.preempt(sequence)
        return super().schedule(state, now) if draft.batch() == Batch() else draft.batch()


def test_a_scheduler_that_preempts_for_nothing_is_told_so_and_not_asked_for_ever() -> None:
    core = Core(Limits(), PreemptsAll())
    core.add(Request("a", 1, 3), 0.0)
    step(core)
    with pytest.raises(RuntimeError, match="PreemptsAll preempted requests for an empty batch"):
        core.next_batch(0.0)


def test_cached_tokens_of_a_prompt_are_not_computed_again() -> None:
    core = Core(Limits(), SarathiServe(), prefix_cache=True)
    core.add(Request("a", 40, 1, block_hashes=(1, 2)), 0.0)
    step(core)
    core.add(Request("b", 40, 1, block_hashes=(1, 3)), 0.0)
    assert step(core).prefills == (PrefillChunk("b", 24, 16, True),)
    assert core.prefix_cache is not None
    assert (core.prefix_cache.queried_tokens, core.prefix_cache.hit_tokens) == (80, 16)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_between_tokens_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="request a: tbt_limit_seconds must be a number greater than 0"):
        Request("a", 1, 1, tbt_limit_seconds=seconds)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs must be at least 1"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens must be at least 1, not 0"),
        ({"num_gpu_blocks": 0}, "num_gpu_blocks must be at least 1"),
        ({"max_requests_per_batch": 0}, "max_requests_per_batch must be at least 1"),
        ({"watermark_share": 1.0}, "watermark_share must be at least 0 and below 1, not 1.0"),
        ({"reserved_tokens": 33, "num_gpu_blocks": 2}, r"reserved_tokens \(33\) must fit into num_gpu_blocks \(2\)"),
    ],
)
def test_impossible_limits_are_refused_by_name(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**values)


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0)])
def test_a_request_has_at_least_one_token_each_way(prompt: int, output: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        Request("a", prompt, output)
