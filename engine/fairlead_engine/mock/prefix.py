"""Hashes of a prompt's blocks, by which the prefix cache knows it.

A block's hash covers all text before it, the adapter and the request's salt, as vLLM's does: equal hashes mean that the
same keys and values would have been computed.
"""

from hashlib import blake2b

from fairlead_engine.blocks import BLOCK_TOKENS
from fairlead_engine.mock.tokens import TOKEN_BYTES

_BLOCK_BYTES = BLOCK_TOKENS * TOKEN_BYTES


def block_hashes(text: str, *, adapter: str | None, salt: str | None) -> tuple[int, ...]:
    """Return one hash per full block of `text`, a prompt and what follows it."""
    data = text.encode()
    chain = blake2b(f"{adapter!r} {salt!r}".encode(), digest_size=8)
    hashes = []
    for start in range(0, len(data) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        chain.update(data[start : start + _BLOCK_BYTES])
        hashes.append(int.from_bytes(chain.copy().digest(), "big"))
    return tuple(hashes)
