"""Name the blocks of a prompt, so that prompts that begin alike are seen to.

The first blocks are two kilobytes of JSON, about 512 tokens: to compute fewer takes milliseconds, which no queue is worth.
The further from the beginning, the longer they are, as what is shared is then known to a fifth, and a prompt of any length
has at most a score of names. A name covers the model (each LoRA adapter has a cache of its own) and all blocks before it:
two prompts share exactly the blocks whose names agree, in every process and replica. The bytes of the request, from its
first field of the prompt on, and not the text that a chat template would make of them, are enough: a conversation that goes
on begins with the same bytes, as its client has written them. To write them anew, in the same way for every client, would
take several times as long as to name them.

Names are checksums, two of 32 bits for the first block and one for what follows it. That two prompts are confused is a
chance in billions; who makes it happen on purpose finds less in a cache than was thought, and nobody else does.
"""

from bisect import bisect_right
from typing import Any, Final
from zlib import adler32, crc32

import orjson

BYTES_PER_TOKEN: Final = 4
"""About so many; requests whose tokens engines have counted tell better, but ends of blocks must stay where they are."""
SHORTEST_BYTES: Final = 2048
"""Of a prompt that has a name."""
_BLOCKS_PER_DOUBLING: Final = 4
_MOST_BYTES: Final = 128 * 1024
"""The beginning of a longer prompt names it well enough: 32 thousand tokens."""


def _ends() -> tuple[int, ...]:
    ends: list[int] = []
    size = SHORTEST_BYTES
    while not ends or ends[-1] < _MOST_BYTES:
        ends += [(ends[-1] if ends else 0) + size * (number + 1) for number in range(_BLOCKS_PER_DOUBLING)]
        size = ends[-1] // _BLOCKS_PER_DOUBLING
    return tuple(ends)


_CHECKSUM_BITS: Final = 32
_ENDS: Final = _ends()
BLOCK_ENDS: Final = tuple(end // BYTES_PER_TOKEN for end in _ENDS)
"""Where the blocks of every prompt end, in tokens."""
_PROMPT_FIELDS: Final = tuple(
    (name, b'"%b":' % name.encode()) for name in ("messages", "prompt", "input", "tools", "system", "instructions")
)
"""And as keys in JSON: inside of a string the quotes would be escaped."""


def blocks_of(body: bytes, request: dict[str, Any]) -> tuple[int, ...]:
    """Return the names of the full blocks of the prompt in a request's body, in their order; `request` is what was read."""
    prompt = memoryview(body)[_beginning(body, request) :]
    number = bisect_right(_ENDS, len(prompt))
    if not number:
        return ()
    start = _ENDS[0]
    first, checksum = prompt[:start], crc32(orjson.dumps(request.get("model")))
    name = crc32(first, checksum) << _CHECKSUM_BITS | adler32(first)
    names = [name]
    for end in _ENDS[1:number]:
        checksum = crc32(prompt[start:end], checksum)
        names.append(name ^ checksum)
        start = end
    return tuple(names)


def _beginning(body: bytes, request: dict[str, Any]) -> int:
    """Return where the first field of the prompt stands."""
    first = len(body)
    for name, written in _PROMPT_FIELDS:
        if name in request:
            found = body.find(written, 0, first)
            if found >= 0:
                first = found
    return first
