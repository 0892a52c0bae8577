"""Stability regions and capacity bounds, against the numbers of the papers."""

from itertools import pairwise

import pytest

from fairlead_engine.batch_time import PROFILES, BatchTime
from fairlead_engine.batch_time.profiles import CODELLAMA_34B_A100, TILES_128
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.region import batch_seconds, load, rad_bound, region, tile_of

PAPER_B = load([Lengths(290, 990)], 128)


def corners(b_max: int, k_max: int | None) -> list[tuple[float, float]]:
    vertices = region(CODELLAMA_34B_A100, PAPER_B, b_max, k_max).vertices
    return [(vertex.prefill_tokens_per_ms, vertex.decode_tokens_per_ms) for vertex in vertices]


@pytest.mark.parametrize(
    ("b_max", "expected"),
    [
        (128, [(0, 2.139), (0.6203, 2.1176), (2.738, 0)]),
        (256, [(0, 2.139), (0.6203, 2.1176), (1.909, 1.204), (3.114, 0)]),
        (512, [(0, 2.139), (0.6203, 2.1176), (2.696, 0.646), (3.343, 0)]),
    ],
)
def test_the_corners_under_a_limit_of_100_requests_are_those_of_the_paper(
    b_max: int, expected: list[tuple[float, float]]
) -> None:
    # arXiv 2504.07347, section 6; vertex C is (29, 99) tokens every 46.75 ms
    found = corners(b_max, 100)
    assert len(found) == len(expected)
    for corner, wanted in zip(found, expected, strict=True):
        assert corner == pytest.approx(wanted, abs=6e-4)


def test_a_corner_says_which_batch_reaches_it() -> None:
    vertex = region(CODELLAMA_34B_A100, PAPER_B, 128, 100).vertices[1]
    assert (vertex.prefill_tokens, vertex.decodes) == (29, 99)


def test_without_a_limit_on_requests_the_border_is_full_batches_back_to_back() -> None:
    # arXiv 2504.07347, Theorem 2: 512 tokens every 153.16 ms, 13.87 requests of 241 tokens per second
    found = region(CODELLAMA_34B_A100, load([Lengths(129, 112)], 128), 512, None)
    assert found.requests_per_second == pytest.approx(13.87, abs=0.005)


def test_more_requests_per_batch_never_shrink_the_region() -> None:
    rates = [region(CODELLAMA_34B_A100, PAPER_B, 512, k_max).requests_per_second for k_max in (10, 50, 100, 400, None)]
    assert all(more >= fewer * (1 - 1e-12) for fewer, more in pairwise(rates))


def test_the_bound_of_full_tiles_is_that_of_the_worked_example() -> None:
    # arXiv 2508.01002, Theorem 1: 4.64 ms for 128 tokens, 761 tokens a request
    bound = rad_bound(TILES_128, load([Lengths(576, 185)], 128), 128)
    assert bound.requests_per_second == pytest.approx(128 / 4.64e-3 / 761)
    assert bound.requests_per_second == pytest.approx(36, abs=0.5)
    assert bound.padded_requests_per_second == pytest.approx(128 / 4.64e-3 / (640 + 185))
    assert bound.bounds_every_scheduler


def test_full_tiles_bound_nobody_where_a_batch_has_a_cost_of_its_own() -> None:
    assert not rad_bound(CODELLAMA_34B_A100, PAPER_B, 128).bounds_every_scheduler


def test_prompts_that_are_whole_tiles_need_no_padding() -> None:
    bound = rad_bound(TILES_128, load([Lengths(512, 100), Lengths(128, 50)], 128), 128)
    assert bound.padded_requests_per_second == pytest.approx(bound.requests_per_second)


def test_attention_is_charged_at_the_mean_over_the_lengths() -> None:
    # one request alone, chunk by chunk and token by token, costs in attention what its mean batches cost
    profile = PROFILES["mistral-7b-rtx6000-ada"]
    one = Lengths(1024, 200)
    mean = load([one], 128)
    assert mean.processed_tokens == 512
    assert mean.context_tokens == pytest.approx(1024 + 100.5)
    chunks = 2 * batch_seconds(profile, mean, 512, 0)
    exact = 2 * (0.0825e-3 * 512 + 6.7e-3) + 8e-9 * 1024 * 1024 / 2
    assert chunks == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_profile_has_a_convex_region_that_holds_its_own_batches(profile: BatchTime) -> None:
    mean = load([Lengths(1000, 300)], tile_of(profile))
    vertices = region(profile, mean, 256, 64).vertices
    points = [(vertex.prefill_tokens_per_ms, vertex.decode_tokens_per_ms) for vertex in vertices]
    assert points[0][0] == 0
    assert points[-1][1] == 0
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
