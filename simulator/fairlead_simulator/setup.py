"""The engine of a run: a scheduler with its options, hardware, limits; as the command line names them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fairlead_engine.batch_time import BatchTime
from fairlead_engine.batching import Core
from fairlead_engine.limits import Limits
from fairlead_engine.profile_file import profile
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Request
from fairlead_simulator.lengths import Lengths


@dataclass(frozen=True, slots=True)
class Setup:
    """An engine that can be built as often as a run needs one."""

    scheduler: str
    options: tuple[tuple[str, str], ...]
    profile: str
    batch_time: BatchTime
    limits: Limits
    first_token_with_prefill: bool = False
    """Whether the batch that completes a prompt yields a token: vLLM's does, that of arXiv 2508.01002 does not."""
    prefix_cache: bool = False

    @property
    def label(self) -> str:
        """The scheduler and its options, as the command line has them."""
        return ":".join([self.scheduler, *(f"{name}={value}" for name, value in self.options)])

    def core(self) -> Core:
        """Build an engine core; ValueError where scheduler, options and limits do not go together."""
        return Core(
            self.limits,
            SCHEDULERS[self.scheduler](dict(self.options)),
            first_token_with_prefill=self.first_token_with_prefill,
            prefix_cache=self.prefix_cache,
        )

    def check(self) -> Callable[[Lengths], None]:
        """Return what raises ValueError for lengths of a request that could never end."""
        scheduler = SCHEDULERS[self.scheduler](dict(self.options))

        def refuse(lengths: Lengths) -> None:
            request = Request("", lengths.prompt_tokens, lengths.output_tokens)
            refusal = self.limits.refusal(lengths.prompt_tokens + lengths.output_tokens)
            refusal = refusal or scheduler.refusal(request, self.limits)
            if refusal is not None:
                raise ValueError(
                    f"a prompt of {lengths.prompt_tokens} and an output of {lengths.output_tokens} tokens cannot run "
                    f"under {self.label}: {refusal}"
                )

        return refuse


def parse_scheduler(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Read `NAME` or `NAME:OPTION=VALUE:...`; ValueError for a name that does not exist. Options are read on building."""
    name, *options = text.split(":")
    if name not in SCHEDULERS:
        raise ValueError(f"scheduler {name!r} is unknown; choose from {', '.join(SCHEDULERS)}")
    pairs: list[tuple[str, str]] = []
    for option in options:
        key, sign, value = option.partition("=")
        if not sign:
            raise ValueError(f"scheduler {name}: write its option {option!r} as {option}=VALUE")
        pairs.append((key, value))
    return name, tuple(pairs)


def make_setup(scheduler: str, profile_name: str, limits: Mapping[str, int], **switches: bool) -> Setup:
    """Build a setup of the scheduler's own limits but for those given, and try it; ValueError says what does not fit."""
    name, options = parse_scheduler(scheduler)
    setup = Setup(
        name, options, profile_name, profile(profile_name), replace(SCHEDULERS[name].limits, **limits), **switches
    )
    setup.core()
    return setup
