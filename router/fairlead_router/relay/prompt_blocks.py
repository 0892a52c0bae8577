"""Name the blocks of a prompt, so that prompts that begin alike are seen to.

A block is a quarter of a kilobyte of JSON, about 64 tokens. Its hash covers the model (each LoRA adapter has a cache of
its own) and all blocks before it: two prompts share exactly the blocks whose hashes agree. JSON of the messages, and not
the text that a chat template would make of it, is enough: a conversation that goes on begins with the same bytes.
"""

from hashlib import blake2b
from typing import Any, Final

import orjson

BLOCK_BYTES: Final = 256
MOST_BLOCKS: Final = 128
"""The beginning of a longer prompt names it well enough: 8 thousand tokens, and a tenth of a millisecond."""
_PROMPT_FIELDS: Final = ("tools", "system", "instructions", "messages", "prompt", "input")
"""In the order in which engines put them together."""


def blocks_of(request: dict[str, Any]) -> tuple[int, ...]:
    """Return the hashes of the full blocks of a request's prompt."""
    prompt = orjson.dumps([request[name] for name in _PROMPT_FIELDS if name in request])
    covered = blake2b(orjson.dumps(request.get("model")), digest_size=8)
    hashes: list[int] = []
    for start in range(0, min(len(prompt) // BLOCK_BYTES, MOST_BLOCKS) * BLOCK_BYTES, BLOCK_BYTES):
        covered.update(prompt[start : start + BLOCK_BYTES])
        hashes.append(int.from_bytes(covered.copy().digest(), "big"))
    return tuple(hashes)
