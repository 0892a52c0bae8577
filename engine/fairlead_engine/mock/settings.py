"""Everything that decides how the mock engine behaves, built once by the command line and passed down."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_engine.batch_time import FAST, BatchTime
from fairlead_engine.limits import Limits
from fairlead_engine.mock.faults import Fault
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Request


@dataclass(frozen=True, slots=True)
class Settings:
    """The mock engine's settings; the flags of `fairlead-engine` one to one."""

    served_model_names: tuple[str, ...] = ("mock",)
    batch_time: BatchTime = FAST
    time_scale: float = 1.0
    scheduler: str = "sarathi"
    scheduler_options: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    max_model_len: int = 8192
    shutdown_timeout_seconds: float = 0.0
    engine_id: str = "mock"
    prefix_cache: bool = False
    lora_modules: Mapping[str, str] = field(default_factory=dict)
    """Path of each LoRA adapter by its name."""
    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0

    def __post_init__(self) -> None:
        if not self.served_model_names:
            raise ValueError("served_model_names: at least one name is needed")
        for name in set(self.lora_modules) & set(self.served_model_names):
            raise ValueError(f"lora_modules: {name!r} is the name of a served model; give the adapter another")
        if not (self.engine_id and self.engine_id.isascii() and self.engine_id.isprintable()):
            raise ValueError(f"engine_id must be printable ASCII, as it is sent in a header, not {self.engine_id!r}")
        if not 0 < self.time_scale < math.inf:
            raise ValueError(f"time_scale must be a number greater than 0, not {self.time_scale}")
        if not 0 <= self.shutdown_timeout_seconds < math.inf:
            raise ValueError(
                f"shutdown_timeout_seconds must be a number of at least 0, not {self.shutdown_timeout_seconds}"
            )
        scheduler = SCHEDULERS[self.scheduler](self.scheduler_options)
        self._check_limits()
        refusal = scheduler.refusal(Request("longest", self.max_model_len - 1, 1), self.limits)
        if refusal is not None:
            raise ValueError(f"max_model_len ({self.max_model_len}) allows prompts that never run: {refusal}")

    def _check_limits(self) -> None:
        budget_tokens = self.limits.max_num_batched_tokens
        if budget_tokens is not None and budget_tokens < self.limits.max_num_seqs:
            # Each running decode needs a token of the budget, or the newest would starve.
            raise ValueError(
                f"max_num_batched_tokens ({budget_tokens}) must be at least max_num_seqs ({self.limits.max_num_seqs})"
            )
        if self.prefix_cache and self.limits.reserved_tokens is not None:
            raise ValueError(f"prefix_cache needs paged memory, and scheduler {self.scheduler} has none: leave it off")
        if self.max_model_len < 2:
            raise ValueError(f"max_model_len must be at least 2 (one token in, one out), not {self.max_model_len}")
        if not self.limits.fits(self.max_model_len):
            raise ValueError(
                f"max_model_len ({self.max_model_len} tokens) does not fit into {self.limits.num_gpu_blocks} KV blocks of 16 "
                f"tokens, of which {self.limits.watermark_blocks} stay free: lower it, or give more blocks"
            )
