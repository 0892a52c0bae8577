"""KV memory."""

import pytest

from fairlead_engine.kv_memory import BlockPool, blocks_for


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2), (235_728, 14_733)])
def test_a_block_holds_sixteen_tokens(tokens: int, blocks: int) -> None:
    assert blocks_for(tokens) == blocks


def test_a_pool_gives_what_it_has_and_no_more() -> None:
    pool = BlockPool(3)
    pool.take(2)
    assert (pool.free_blocks, pool.used_blocks) == (1, 2)
    with pytest.raises(ValueError, match="2 blocks asked for, 1 free"):
        pool.take(2)
    pool.give(2)
    assert pool.free_blocks == 3


def test_a_pool_takes_back_no_more_than_it_gave() -> None:
    with pytest.raises(ValueError, match="1 blocks given back, 0 taken"):
        BlockPool(3).give(1)


def test_a_pool_has_at_least_one_block() -> None:
    with pytest.raises(ValueError, match="total_blocks must be at least 1, not 0"):
        BlockPool(0)
