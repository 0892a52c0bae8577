"""KV memory."""

import pytest

from fairlead_engine.blocks import blocks_for
from fairlead_engine.kv_memory import KvMemory
from fairlead_engine.limits import Limits
from fairlead_engine.prefix_cache import PrefixCache
from fairlead_engine.sequences import Sequence
from fairlead_engine.types import Request


def sequence(prompt_tokens: int, *hashes: int) -> Sequence:
    request = Request("r", prompt_tokens, 1, block_hashes=hashes)
    return Sequence(request, number=1, arrived=0.0, end_tokens=prompt_tokens)


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2), (235_728, 14_733)])
def test_a_block_holds_sixteen_tokens(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens) == blocks


def test_a_request_gets_the_blocks_of_its_prompt_and_then_one_at_a_time() -> None:
    memory = KvMemory(Limits(num_gpu_blocks=10))
    grown = sequence(33)
    memory.admit(grown)
    assert (grown.blocks, grown.capacity_tokens, memory.used_blocks) == (3, 48, 3)
    memory.grow(grown)
    assert (grown.blocks, grown.capacity_tokens, memory.used_blocks) == (4, 64, 4)
    memory.release(grown)
    assert (grown.blocks, memory.used_blocks) == (0, 0)


def test_more_than_is_free_is_not_given() -> None:
    memory = KvMemory(Limits(num_gpu_blocks=2))
    memory.admit(sequence(32))
    with pytest.raises(ValueError, match="1 blocks asked for, 0 free"):
        memory.admit(sequence(1))


def test_an_admission_leaves_the_watermark_free_and_a_small_memory_at_least_one_block() -> None:
    assert not KvMemory(Limits(num_gpu_blocks=3)).can_admit(sequence(48))
    assert KvMemory(Limits(num_gpu_blocks=4)).can_admit(sequence(48))
    assert not KvMemory(Limits(num_gpu_blocks=300)).can_admit(sequence(16 * 298))
    assert KvMemory(Limits(num_gpu_blocks=300)).can_admit(sequence(16 * 297))


def test_without_paging_every_request_reserves_the_same() -> None:
    memory = KvMemory(Limits(num_gpu_blocks=1030, watermark_share=0, reserved_tokens=8192))
    short = sequence(1)
    memory.admit(short)
    assert (short.blocks, memory.used_blocks) == (512, 512)
    memory.admit(sequence(8192))
    assert not memory.can_admit(sequence(1))


def cached_memory(blocks: int = 20) -> tuple[KvMemory, PrefixCache]:
    cache = PrefixCache()
    return KvMemory(Limits(num_gpu_blocks=blocks), cache), cache


def computed(memory: KvMemory, *hashes: int) -> Sequence:
    """Admit a request with one full block per hash and one token more, and compute it."""
    prompt = sequence(16 * len(hashes) + 1, *hashes)
    memory.admit(prompt)
    prompt.computed_tokens = prompt.prefill_tokens
    memory.keep(prompt)
    return prompt


def test_a_prefix_that_a_running_request_has_computed_is_shared() -> None:
    memory, cache = cached_memory()
    computed(memory, 1, 2, 3)
    sharer = sequence(16 * 4, 1, 2, 9, 10)
    memory.admit(sharer)
    assert sharer.computed_tokens == 32
    assert memory.used_blocks == 4 + 2  # two of the sharer's four are the first request's
    assert (cache.queried_tokens, cache.hit_tokens) == (49 + 64, 32)


def test_a_block_that_is_not_computed_is_not_found() -> None:
    memory, _ = cached_memory()
    memory.admit(sequence(48, 1, 2, 3))
    late = sequence(48, 1, 2, 3)
    memory.admit(late)
    assert late.computed_tokens == 0


def test_at_least_one_token_is_computed_though_all_are_cached() -> None:
    memory, _ = cached_memory()
    computed(memory, 1, 2)
    same = sequence(32, 1, 2)
    memory.admit(same)
    assert same.computed_tokens == 16


def test_blocks_outlive_their_request_until_their_memory_is_needed() -> None:
    memory, cache = cached_memory(6)
    memory.release(computed(memory, 1, 2))
    assert (memory.free_blocks, cache.idle_blocks) == (6, 2)
    memory.admit(sequence(16 * 5))
    # The end of the prefix went first, and its beginning is still of use.
    assert cache.match((1, 2), 2) == 1


def test_a_prefix_that_nobody_holds_counts_as_free_until_a_request_takes_it_up() -> None:
    memory, _ = cached_memory(8)
    memory.release(computed(memory, 1, 2))
    assert memory.used_blocks == 0
    memory.admit(sequence(33, 1, 2))
    assert memory.used_blocks == 3


def test_the_least_recently_used_prefix_is_forgotten_first() -> None:
    memory, cache = cached_memory(6)
    memory.release(computed(memory, 1, 2))
    memory.release(computed(memory, 3))
    memory.release(computed(memory, 1, 2))
    memory.admit(sequence(16 * 4))
    assert (cache.match((1, 2), 2), cache.match((3,), 1)) == (2, 0)


def test_a_block_computed_twice_at_the_same_time_is_cached_once() -> None:
    memory, cache = cached_memory()
    first, second = sequence(17, 1), sequence(17, 1)
    for prompt in (first, second):
        memory.admit(prompt)
    for prompt in (first, second):
        prompt.computed_tokens = 17
        memory.keep(prompt)
    memory.release(second)
    assert (memory.used_blocks, cache.idle_blocks) == (2, 0)
    memory.release(first)
    assert (memory.used_blocks, cache.idle_blocks) == (0, 1)
