"""The unit of KV memory."""

BLOCK_TOKENS = 16
"""Tokens per block: the default of vLLM and of the engine of arXiv 2508.01002."""


def blocks_for(tokens: int) -> int:
    """Return how many blocks hold the keys and values of `tokens` tokens."""
    return -(-tokens // BLOCK_TOKENS)
