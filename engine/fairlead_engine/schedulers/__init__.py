"""The schedulers by name, with the options and limits that each has.

`SCHEDULERS[name](options)` makes one; options are texts, as a command line or a configuration file has them. Whoever
writes Python uses the classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fairlead_engine.limits import Limits
from fairlead_engine.schedulers.fastertransformer import FasterTransformer
from fairlead_engine.schedulers.orca import Orca, OrcaChunked
from fairlead_engine.schedulers.rad import Rad
from fairlead_engine.schedulers.sarathi import SarathiServe
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.schedulers.simple_chunking import SimpleChunking
from fairlead_engine.schedulers.slai import Slai
from fairlead_engine.schedulers.vllm import VanillaVllm
from fairlead_engine.waiting import ORDERS

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Option:
    """An option of a scheduler: the parameter that it sets, and how its text is read."""

    parameter: str
    read: Callable[[str], object]
    wanted: str


@dataclass(frozen=True, slots=True)
class SchedulerKind:
    """A scheduler that can be made: its options, what is preset, and the limits it was published with."""

    name: str
    summary: str
    make: Callable[..., Scheduler]
    limits: Limits = field(default_factory=Limits)
    """Limits of the comparison in arXiv 2508.01002, for whoever gives none."""
    options: Mapping[str, _Option] = field(default_factory=dict)
    preset: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, options: Mapping[str, str] = _NOTHING) -> Scheduler:
        """Return a new scheduler.

        Raises
        ------
        ValueError
            An option that it does not have, or a value that the option cannot take.

        """
        arguments = dict(self.preset)
        for name, text in options.items():
            option = self.options.get(name)
            if option is None:
                known = ", ".join(self.options) or "none"
                raise ValueError(f"scheduler {self.name} has no option {name!r}; its options: {known}")
            try:
                arguments[option.parameter] = option.read(text)
            except ValueError as error:
                raise ValueError(
                    f"scheduler {self.name}: option {name} must be {option.wanted}, not {text!r}"
                ) from error
        return self.make(**arguments)


def _order(text: str) -> str:
    if text not in ORDERS:
        raise ValueError(text)
    return text


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _count_or_infinite(text: str) -> int | None:
    return None if text == "infinite" else _count(text)


_ORDER = _Option("order", _order, "one of " + ", ".join(ORDERS))
_NUMBER = "a number of at least 0"
_COUNT = "a whole number of at least 1"
_RAD_OPTIONS = {
    "tile": _Option("tile_tokens", _count, _COUNT),
    "chunk": _Option("chunk_tokens", _count, _COUNT),
    "cycle": _Option("cycle_prefills", _count_or_infinite, f"{_COUNT}, or infinite"),
}
_SLAI_OPTIONS = {
    "order": _ORDER,
    "offset": _Option("offset", _number, _NUMBER),
    "offset-when-full": _Option("offset_when_full", _number, _NUMBER),
    "full-share": _Option("full_share", _number, _NUMBER),
    "most-decodes": _Option("most_decodes", _count, _COUNT),
    "default-tbt-limit": _Option("default_tbt_limit_seconds", _number, "a number of seconds"),
}
_FIXED = {"offset": 10.0, "offset_when_full": 10.0}
_RESERVING = 8192
"""Tokens that a request reserves without paged memory: the longest sequence of arXiv 2508.01002."""

_KINDS = (
    SchedulerKind(
        "fastertransformer",
        "Groups of whole requests; decodes before anything is admitted.",
        FasterTransformer,
        Limits(max_num_batched_tokens=None, watermark_share=0, reserved_tokens=_RESERVING),
    ),
    SchedulerKind(
        "orca",
        "Every decode, and whole prompts beside them.",
        Orca,
        Limits(max_num_batched_tokens=None, max_num_seqs=8, watermark_share=0, reserved_tokens=_RESERVING),
    ),
    SchedulerKind("orca-chunked", "Chunks of prompts first, decodes with what is left.", OrcaChunked),
    SchedulerKind(
        "vllm", "Batches of whole prompts, or else of decodes.", VanillaVllm, Limits(max_num_batched_tokens=8192)
    ),
    SchedulerKind(
        "sarathi", "Every decode, and chunks of prompts beside them.", SarathiServe, options={"order": _ORDER}
    ),
    SchedulerKind("sarathi-spf", "Sarathi-Serve, shortest prompt first.", SarathiServe, preset={"order": "spf"}),
    SchedulerKind("simple-chunking", "Chunks of prompts and decodes take turns.", SimpleChunking),
    SchedulerKind("rad", "Full tiles of decodes, or whole tiles of one prompt.", Rad, options=_RAD_OPTIONS),
    SchedulerKind(
        "slai", "Decodes wait for their TBT limit while prompts are there; dynamic offset.", Slai, options=_SLAI_OPTIONS
    ),
    SchedulerKind(
        "slai-fcfs-fixed", "SLAI, first come first served, fixed offset.", Slai, preset={"order": "fcfs", **_FIXED}
    ),
    SchedulerKind(
        "slai-spf-fixed", "SLAI, shortest prompt first, fixed offset.", Slai, preset={"order": "spf", **_FIXED}
    ),
    SchedulerKind(
        "slai-priority", "SLAI, priority then shortest prompt, dynamic offset.", Slai, preset={"order": "priority"}
    ),
)

SCHEDULERS: Mapping[str, SchedulerKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""What `--scheduler` takes."""
