"""What the papers say that their schedulers do, in a form short enough for every run of the tests."""

import itertools
import random
from collections.abc import Iterator

import pytest
from virtual_engine import VirtualEngine, fixed_requests, paper_limits

from fairlead_engine.batch_time import PROFILES, Staircase
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Batch, Request

CODELLAMA = PROFILES["codellama-34b-a100"]
BOUNDARY_TOKENS_PER_SECOND = 512 / CODELLAMA.seconds(Batch(tuple("x" * 512)))


def written(batch: Batch) -> str:
    """Write a batch as the paper does: `A B Dp`."""
    return " ".join([*batch.decodes, *(chunk.request_id + "p" for chunk in batch.prefills)])


@pytest.mark.parametrize(
    ("scheduler", "b_max", "batches"),
    [
        ("vllm", 4, "A B C | Dp Ep | A B C D | B C E | B"),
        ("orca", 5, "A B C | A B C Dp Ep | B C D E | B"),
        ("orca-chunked", 5, "A B C | A B C Dp Ep | B C D E | B"),
        ("fastertransformer", 4, "A B C | A B C | B C | B | Dp Ep | D E"),
        ("sarathi", 4, "A B C | A B C Dp | B C D Ep | B E"),
    ],
)
def test_batches_are_those_of_figure_8(scheduler: str, b_max: int, batches: str) -> None:
    """arXiv 2504.07347: A, B, C owe 2, 4, 3 tokens; D and E, one prompt token and one output token each, arrive."""
    engine = VirtualEngine.of_paper(SCHEDULERS[scheduler](), paper_limits(b_max))
    for name, tokens in (("A", 2), ("B", 4), ("C", 3)):
        engine.core.add(Request(name, 1, tokens), 0.0)
    engine.step()  # their prompts
    first = engine.core.next_batch(engine.now)
    assert first is not None
    for name in "DE":
        engine.core.add(Request(name, 1, 1), engine.now)
    engine.core.complete(first, engine.now)
    written_batches = [written(first)]
    while batch := engine.step():
        written_batches.append(written(batch))
    assert " | ".join(written_batches) == batches


def poisson(rate: float, prompt: int, output: int, seed: int) -> Iterator[tuple[float, Request]]:
    rng, now = random.Random(seed), 0.0
    for number in itertools.count():
        now += rng.expovariate(rate)
        yield now, Request(f"r{number}", prompt, output)


@pytest.mark.parametrize(
    ("scheduler", "published"), [("sarathi", 100), ("orca-chunked", 100), ("vllm", 557), ("fastertransformer", 941)]
)
def test_work_conserving_schedulers_stay_stable_where_the_others_blow_up(scheduler: str, published: int) -> None:
    """arXiv 2504.07347, Fig. 1: CodeLlama-34B on an A100, 129 + 112 tokens; at 10.4 req/s, three quarters of capacity.

    In the system after 90 s, as an independent simulation of the figure (Concourse.jl) found it in one run: that must lie
    in the range of 25 runs here.
    """
    counts = []
    for seed in range(1, 26):
        engine = VirtualEngine.of_paper(SCHEDULERS[scheduler](), paper_limits(512), CODELLAMA)
        engine.run(poisson(10.4, 129, 112, seed), until=90)
        counts.append(engine.in_system)
    assert min(counts) <= published <= 1.005 * max(counts)


@pytest.mark.parametrize(("load", "drift"), [(1.1, 0.334), (1.2, 0.669)])
def test_above_the_boundary_the_backlog_grows_by_what_exceeds_it(load: float, drift: float) -> None:
    """arXiv 2504.07347, Theorem 2 (a): by lambda (m_p + m_d) - b_max / t_b_max, here in tokens per millisecond."""
    rate = load * BOUNDARY_TOKENS_PER_SECOND / 200
    engine = VirtualEngine.of_paper(SCHEDULERS["sarathi"](), paper_limits(512), CODELLAMA)
    arrivals = fixed_requests(100, 100, 1 / rate)
    marks = []
    for until in (100, 300):
        engine.run(arrivals, until)
        state = engine.core.state
        left = sum(s.end_tokens - s.computed_tokens for s in (*state.prefilling, *state.decoding))
        marks.append((engine.now, left + 200 * len(state.waiting)))
    (start, before), (end, after) = marks
    assert (after - before) / (end - start) / 1e3 == pytest.approx(drift, rel=0.05)


def test_below_the_boundary_the_backlog_is_bounded() -> None:
    """arXiv 2504.07347, Theorem 2 (b)."""
    engine = VirtualEngine.of_paper(SCHEDULERS["sarathi"](), paper_limits(512), CODELLAMA)
    arrivals = fixed_requests(100, 100, 200 / (0.95 * BOUNDARY_TOKENS_PER_SECOND))
    engine.run(arrivals, 100)
    early = engine.in_system
    engine.run(arrivals, 300)
    assert engine.in_system < 1.2 * early


def limited_to_100_requests(scheduler: str, b_max: int) -> VirtualEngine:
    """Run the experiment of arXiv 2504.07347, section 6: (290, 990) tokens every 467.5 ms, at most 100 per batch."""
    # In units of 10 us, all times are whole numbers: arrivals and ends of batches coincide exactly.
    codellama = Staircase(base_seconds=1128, tile_seconds=3547)
    engine = VirtualEngine.of_paper(SCHEDULERS[scheduler](), paper_limits(b_max, k_max=100), codellama)
    engine.run(fixed_requests(290, 990, 46_750), until=500 * 1e5, keep=True)
    return engine


def test_with_a_batch_size_limit_sarathi_128_locks_on_29_prompt_tokens_and_99_decodes() -> None:
    engine = limited_to_100_requests("sarathi", 128)
    assert {(len(batch.decodes), batch.prefill_tokens) for batch in engine.batches[-5000:]} == {(99, 29)}
    assert engine.in_system <= 101


@pytest.mark.parametrize(("scheduler", "b_max"), [("orca-chunked", 128), ("sarathi", 1024)])
def test_with_a_batch_size_limit_work_conservation_is_not_enough(scheduler: str, b_max: int) -> None:
    assert limited_to_100_requests(scheduler, b_max).in_system > 250


@pytest.mark.parametrize("scheduler", ["vllm", "fastertransformer"])
def test_engines_that_cannot_chunk_refuse_a_prompt_beyond_their_budget(scheduler: str) -> None:
    with pytest.raises(ValueError, match=r"does not chunk: .* max_num_batched_tokens is 128"):
        limited_to_100_requests(scheduler, 128)


def tiled(rate: float) -> VirtualEngine:
    """Run RAD for 100 s on tiles of 128 that take 4640 us: 576 prompt tokens and 185 output tokens in the mean."""
    rng = random.Random(3)
    sized = (
        (now, Request(request.request_id, 128 * rng.randint(1, 8), rng.randint(1, 369)))
        for now, request in poisson(rate, 1, 1, seed=3)
    )
    engine = VirtualEngine.of_paper(SCHEDULERS["rad"](), paper_limits(128), PROFILES["tiles-128"])
    engine.run(sized, until=100)
    return engine


@pytest.mark.parametrize("rate", [20, 30])
def test_rad_is_stable_below_the_capacity_bound(rate: int) -> None:
    """arXiv 2508.01002, Theorem 2: capacity is 1 / ((576 + 185) * 4640 us / 128), about 36 requests per second."""
    assert tiled(rate).in_system < 4 * rate


def test_rad_falls_behind_above_the_capacity_bound_and_serves_at_the_bound() -> None:
    """arXiv 2508.01002, Theorem 1: no scheduler could do more."""
    engine = tiled(45)
    assert engine.in_system > 600
    assert 0.9 * 36.25 < engine.finished / 100 < 1.05 * 36.25
