"""What the engines of a pool can do, as their type and their arguments say: the router plans with it."""

from collections.abc import Sequence
from typing import Final

from fairlead_router.config import Engine, EnginePriority

_MAX_NUM_SEQS: Final = "--max-num-seqs"
_BATCH_TOKENS: Final = "--max-num-batched-tokens"
_SCHEDULING_POLICY: Final = "--scheduling-policy"
_DEFAULTS: Final = {"mock": Engine(max_num_seqs=128, batch_tokens=512), "vllm": Engine()}
"""vLLM's own depend on the GPU, so that they are not known here."""


def engine_facts(engine_type: str, arguments: Sequence[str]) -> Engine:
    """Read the arguments; a number that is none is left for the engine to refuse."""
    usual = _DEFAULTS[engine_type]
    by_priority = engine_type == "vllm" and _value(arguments, _SCHEDULING_POLICY) == "priority"
    order: EnginePriority = "lower-first" if by_priority else "none"
    return Engine(
        max_num_seqs=_number(arguments, _MAX_NUM_SEQS) or usual.max_num_seqs,
        batch_tokens=_number(arguments, _BATCH_TOKENS) or usual.batch_tokens,
        priority=order,
    )


def _number(arguments: Sequence[str], flag: str) -> int | None:
    value = _value(arguments, flag)
    return int(value) if value is not None and value.isdecimal() and int(value) > 0 else None


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of a flag; of several the last one, as command lines are read."""
    found = None
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
        elif argument == flag and place + 1 < len(arguments):
            found = arguments[place + 1]
    return found
