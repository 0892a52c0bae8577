"""Name the blocks of a prompt, so that prompts that begin alike are seen to.

A block is a quarter of a kilobyte of JSON, about 64 tokens. Its hash covers the model (each LoRA adapter has a cache of
its own) and all blocks before it: two prompts share exactly the blocks whose hashes agree. JSON of the messages, and not
the text that a chat template would make of it, is enough: a conversation that goes on begins with the same bytes.
"""

from typing import Any, Final

import orjson
from xxhash import xxh3_64_intdigest

BLOCK_BYTES: Final = 256
MOST_BLOCKS: Final = 256
"""The beginning of a longer prompt names it well enough: 16 thousand tokens."""
_PROMPT_FIELDS: Final = ("tools", "system", "instructions", "messages", "prompt", "input")
"""In the order in which engines put them together."""


def blocks_of(request: dict[str, Any]) -> tuple[int, ...]:
    """Return the hashes of the full blocks of a request's prompt."""
    prompt = orjson.dumps([request[name] for name in _PROMPT_FIELDS if name in request])
    covered = xxh3_64_intdigest(orjson.dumps(request.get("model")))
    hashes: list[int] = []
    for start in range(0, min(len(prompt) // BLOCK_BYTES, MOST_BLOCKS) * BLOCK_BYTES, BLOCK_BYTES):
        covered = xxh3_64_intdigest(prompt[start : start + BLOCK_BYTES], covered)
        hashes.append(covered)
    return tuple(hashes)
