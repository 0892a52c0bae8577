"""Each scheduler's own rules, one at a time."""

import pytest
from virtual_engine import ONE_SECOND, VirtualEngine, paper_limits

from fairlead_engine.batch_time import Linear
from fairlead_engine.batching import Core, Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.schedulers.rad import Rad
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.schedulers.slai import Slai
from fairlead_engine.types import Batch, Request


def engine_with(scheduler: str | Scheduler, limits: Limits, *requests: Request) -> VirtualEngine:
    """Build an engine in which every batch takes a second, and a first token comes with the prompt."""
    made = SCHEDULERS[scheduler]() if isinstance(scheduler, str) else scheduler
    engine = VirtualEngine(Core(limits, made), ONE_SECOND)
    for request in requests:
        engine.core.add(request, engine.now)
    return engine


def step(engine: VirtualEngine) -> Batch:
    batch = engine.step()
    assert batch is not None
    return batch


def written(batch: Batch) -> str:
    """Write a batch as names of decodes and `name:tokens` of prompts."""
    return " ".join([*batch.decodes, *(f"{chunk.request_id}:{chunk.tokens}" for chunk in batch.prefills)])


def all_batches(engine: VirtualEngine) -> list[str]:
    batches = []
    while batch := engine.step():
        batches.append(written(batch))
    return batches


def test_fastertransformer_admits_nothing_before_the_whole_group_has_ended() -> None:
    requests = [Request("a", 4, 2), Request("b", 4, 3), Request("c", 4, 1)]
    engine = engine_with("fastertransformer", paper_limits(8), *requests)
    assert all_batches(engine) == ["a:4 b:4", "a b", "b", "c:4"]


def test_orca_takes_whole_prompts_only_and_orca_chunked_any_part() -> None:
    requests = [Request("a", 5, 9), Request("b", 5, 9)]
    assert written(step(engine_with("orca", paper_limits(8), *requests))) == "a:5"
    assert written(step(engine_with("orca-chunked", paper_limits(8), *requests))) == "a:5 b:3"


def test_without_a_budget_orca_takes_every_prompt_that_the_running_limit_allows() -> None:
    requests = [Request(f"{number}", 8000, 9) for number in range(10)]
    engine = engine_with("orca", SCHEDULERS["orca"].limits, *requests)
    assert step(engine).tokens == 8 * 8000


def test_engines_without_paging_hold_28_requests_of_8192_tokens() -> None:
    requests = [Request(f"{number}", 1, 2) for number in range(30)]
    engine = engine_with("fastertransformer", SCHEDULERS["fastertransformer"].limits, *requests)
    assert len(step(engine).admitted) == 28


def test_orca_chunked_gives_prompts_the_budget_before_decodes() -> None:
    engine = engine_with("orca-chunked", paper_limits(4), Request("a", 1, 9))
    step(engine)
    engine.core.add(Request("b", 11, 9), engine.now)
    assert [written(step(engine)) for _ in range(4)] == ["b:4", "b:4", "a b:3", "a b"]


def test_vllm_prefills_whenever_it_can_admit_and_never_beside_a_decode() -> None:
    engine = engine_with("vllm", paper_limits(8), Request("a", 3, 4), Request("b", 3, 4), Request("c", 3, 4))
    assert all_batches(engine) == ["a:3 b:3", "c:3", "a b c", "a b c", "a b c"]


def test_vllm_preempts_the_latest_arrived_when_a_decode_finds_no_block() -> None:
    limits = Limits(max_num_batched_tokens=64, num_gpu_blocks=3)
    engine = engine_with("vllm", limits, Request("a", 15, 9), Request("b", 15, 2))
    assert all_batches(engine)[:3] == ["a:15 b:15", "a b", "a"]
    engine = engine_with("vllm", limits, Request("a", 15, 9), Request("b", 15, 9))
    assert [step(engine).preempted for _ in range(4)] == [(), (), ("b",), ()]


def test_simple_chunking_takes_turns_and_skips_an_empty_one() -> None:
    engine = engine_with("simple-chunking", paper_limits(4), Request("a", 3, 5), Request("b", 9, 1))
    assert all_batches(engine) == ["a:3 b:1", "a", "b:4", "a", "b:4", "a", "a"]


def test_sarathi_spf_admits_the_shortest_prompt_and_lets_prompts_under_way_go_on() -> None:
    engine = engine_with("sarathi-spf", paper_limits(4), Request("long", 6, 1))
    step(engine)
    engine.core.add(Request("middle", 3, 1), engine.now)
    engine.core.add(Request("short", 1, 1), engine.now)
    assert all_batches(engine) == ["long:2 short:1 middle:1", "middle:2"]


def test_sarathi_preempts_the_newest_even_where_it_is_an_unfinished_prompt() -> None:
    limits = Limits(max_num_batched_tokens=17, num_gpu_blocks=6)
    engine = engine_with("sarathi", limits, Request("a", 16, 33), Request("b", 60, 2))
    batches = [step(engine) for _ in range(3)]
    # `a` takes the last free block for its 17th token; its next decode finds none, and asks for one though it needs none.
    assert [written(batch) for batch in batches] == ["a:16 b:1", "a b:16", "a"]
    assert batches[-1].preempted == ("b",)


# RAD


def test_rad_never_mixes_and_fills_the_tile_of_decodes_before_it_decodes() -> None:
    requests = [Request(name, 4, 3) for name in "abc"]
    engine = engine_with(Rad(tile_tokens=2, chunk_tokens=4), paper_limits(8), *requests)
    assert all_batches(engine) == ["a:4", "b:4", "a b", "a b", "c:4", "c", "c"]


def test_rad_prefills_one_prompt_at_a_time_in_whole_tiles() -> None:
    engine = engine_with(Rad(tile_tokens=4), paper_limits(16), Request("a", 10, 1), Request("b", 4, 1))
    assert all_batches(engine) == ["a:4", "a:4", "a:2", "b:4"]


def test_rad_with_a_finite_cycle_ends_its_requests_before_it_takes_more() -> None:
    requests = [Request(name, 4, 3) for name in "abcd"]
    engine = engine_with(Rad(tile_tokens=3, chunk_tokens=4, cycle_prefills=2), paper_limits(8), *requests)
    assert all_batches(engine) == ["a:4", "b:4", "a b", "a b", "c:4", "d:4", "c d", "c d"]


def test_rad_decodes_while_memory_has_no_room_for_another_request() -> None:
    limits = Limits(max_num_batched_tokens=512, num_gpu_blocks=4)
    engine = engine_with(Rad(tile_tokens=16), limits, Request("a", 16, 2), Request("b", 47, 1))
    assert all_batches(engine) == ["a:16", "a", "b:16", "b:16", "b:15"]


@pytest.mark.parametrize("name", ["tile_tokens", "chunk_tokens", "cycle_prefills"])
def test_rad_needs_sizes_of_at_least_one(name: str) -> None:
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        Rad(**{name: 0})


# SLAI. With one-second batches and an offset of 1, a token is critical from one second before its limit.


def slai_engine(scheduler: Slai, *requests: Request, budget: int = 4, blocks: int = 10**6) -> VirtualEngine:
    limits = Limits(max_num_batched_tokens=budget, num_gpu_blocks=blocks)
    return engine_with(scheduler, limits, *requests)


def test_slai_defers_decodes_while_prompts_fill_the_budget_until_their_limit_comes_near() -> None:
    engine = slai_engine(Slai(offset=1.0), Request("a", 4, 3, tbt_limit_seconds=3.0))
    step(engine)  # at 1 s, `a` has its first token: it is critical from 1 + 3 - 1 = 3 s
    engine.core.add(Request("b", 100, 1), engine.now)
    assert [written(step(engine)) for _ in range(5)] == ["b:4", "b:4", "a b:3", "b:4", "b:4"]


def test_slai_is_work_conserving_within_the_budget() -> None:
    engine = slai_engine(Slai(offset=1.0), Request("a", 4, 3, tbt_limit_seconds=100.0))
    step(engine)
    engine.core.add(Request("b", 3, 1), engine.now)
    assert written(step(engine)) == "a b:3"


def test_slai_decodes_a_larger_offset_earlier() -> None:
    engine = slai_engine(Slai(offset=2.0), Request("a", 4, 3, tbt_limit_seconds=3.0))
    step(engine)
    engine.core.add(Request("b", 100, 1), engine.now)
    assert [written(step(engine)) for _ in range(3)] == ["b:4", "a b:3", "b:4"]


def test_slai_takes_the_larger_offset_while_memory_is_full() -> None:
    scheduler = Slai(offset=1.0, offset_when_full=2.0, full_share=0.5)
    engine = slai_engine(scheduler, Request("a", 4, 3, tbt_limit_seconds=3.0), budget=64, blocks=18)
    step(engine)
    engine.core.add(Request("b", 150, 1), engine.now)  # 10 of 18 blocks, once its prompt is under way
    batches = [written(step(engine)) for _ in range(3)]
    assert batches == ["b:64", "b:64", "a b:22"]
    emptier = slai_engine(Slai(offset=2.0), Request("a", 4, 3, tbt_limit_seconds=3.0), budget=64, blocks=18)
    step(emptier)
    emptier.core.add(Request("b", 150, 1), emptier.now)
    assert [written(step(emptier)) for _ in range(2)] == ["b:64", "a b:63"]


def test_slai_uses_the_mean_of_all_batch_times_since_the_start() -> None:
    engine = slai_engine(Slai(offset=1.0), Request("a", 4, 3, tbt_limit_seconds=3.0))
    engine.batch_time = Linear(base_seconds=0.0, token_seconds=0.5)
    step(engine)  # two seconds: critical from 2 + 3 - 2 = 3 s
    engine.core.add(Request("b", 100, 1), engine.now)
    assert [written(step(engine)) for _ in range(3)] == ["b:4", "a b:3", "b:4"]


def test_slai_gives_requests_without_a_tbt_limit_the_default_one() -> None:
    engine = slai_engine(Slai(offset=0.0, default_tbt_limit_seconds=2.0), Request("a", 4, 3))
    step(engine)
    engine.core.add(Request("b", 100, 1), engine.now)
    assert [written(step(engine)) for _ in range(3)] == ["b:4", "b:4", "a b:3"]


def test_slai_goes_on_with_prompts_in_the_order_in_which_they_were_left_unfinished() -> None:
    engine = slai_engine(Slai(order="spf"), Request("long", 9, 1))
    step(engine)
    engine.core.add(Request("short", 2, 1), engine.now)
    assert [written(step(engine)) for _ in range(2)] == ["long:4", "long:1 short:2"]


@pytest.mark.parametrize(
    ("order", "batch"), [("fcfs", "a:3 b:2 c:3"), ("spf", "c:1 d:2 b:2 a:3"), ("priority", "d:2 a:3 c:1 b:2")]
)
def test_slai_admits_in_the_order_that_it_is_given(order: str, batch: str) -> None:
    requests = [Request("a", 3, 1), Request("b", 2, 1, priority=1), Request("c", 1, 1, priority=1), Request("d", 2, 1)]
    if order == "fcfs":
        requests[2] = Request("c", 9, 1)
    if order == "spf":
        requests = [requests[0], requests[3], requests[1], requests[2]]
    engine = slai_engine(Slai(order=order), *requests, budget=8)
    assert written(step(engine)) == batch


def test_slai_limits_the_decodes_of_a_batch() -> None:
    engine = slai_engine(Slai(most_decodes=2), *(Request(name, 1, 2) for name in "abc"))
    assert all_batches(engine) == ["a:1 b:1 c:1", "a b", "c"]


def test_slai_preempts_the_last_unfinished_prompt_for_a_critical_decode() -> None:
    engine = slai_engine(Slai(offset=100.0), Request("a", 15, 40), budget=16, blocks=6)
    step(engine)
    engine.core.add(Request("b", 60, 1), engine.now)
    batches = [step(engine) for _ in range(3)]
    # `a` took the last free block for its 17th token; the next decode finds none, and `b` has to go.
    assert [batch.preempted for batch in batches] == [(), (), ("b",)]
    assert batches[-1].decodes == ("a",)
