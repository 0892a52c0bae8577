"""What arrives when: arrival process, lengths and users joined into one stream of requests, reproducible by a seed.

Arrivals, lengths and users draw from random sources of their own, so that a change of one leaves the others as they
were: at another rate the same requests come in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice
from random import Random
from typing import Protocol

from fairlead_engine.blocks import BLOCK_TOKENS
from fairlead_simulator.arrivals import Arrivals
from fairlead_simulator.lengths import LONGEST_PROMPT_TOKENS, LONGEST_TOTAL_TOKENS, Lengths, conversation


class LengthSource(Protocol):
    """Where the lengths of requests come from."""

    def lengths(self, random: Random) -> Iterator[Lengths]:
        """Yield lengths without end."""
        ...


@dataclass(frozen=True, slots=True)
class TraceLengths:
    """The rows of a trace, in a new random order on every pass (or, unshuffled, as they are), so that none repeats early."""

    rows: tuple[Lengths, ...]
    shuffled: bool = True

    def lengths(self, random: Random) -> Iterator[Lengths]:
        """Yield lengths without end."""
        rows = list(self.rows)
        while True:
            if self.shuffled:
                random.shuffle(rows)
            yield from rows


@dataclass(frozen=True, slots=True)
class ShareGpt:
    """Lengths drawn from the quantiles of a ShareGPT trace, see `fairlead_simulator.lengths`."""

    @property
    def longest(self) -> Lengths:
        """The longest request that can come."""
        return Lengths(LONGEST_PROMPT_TOKENS, LONGEST_TOTAL_TOKENS - LONGEST_PROMPT_TOKENS)

    def lengths(self, random: Random) -> Iterator[Lengths]:
        """Yield lengths without end."""
        return conversation(random)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request has the same lengths."""

    every: Lengths

    @property
    def longest(self) -> Lengths:
        """The longest request that can come."""
        return self.every

    def lengths(self, random: Random) -> Iterator[Lengths]:  # noqa: ARG002 - nothing is drawn
        """Yield lengths without end."""
        while True:
            yield self.every


@dataclass(frozen=True, slots=True)
class Conversations:
    """Turns of conversations: a prompt is a system prompt that all share, then the conversation so far.

    `active` conversations are under way at a time, each arrival is the next turn of one of them, and one that has had
    its `turns` gives way to a new one. `user` and `answer` are the mean tokens of a message and of its answer
    (exponential, cut at four means). Requests carry the hashes of their blocks, so a prefix cache finds what they share.
    """

    turns: int = 5
    system: int = 512
    user: int = 120
    answer: int = 250
    active: int = 64

    def __post_init__(self) -> None:
        for name in ("turns", "user", "answer", "active"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.system < 0:
            raise ValueError(f"system must be at least 0, not {self.system}")

    @property
    def longest(self) -> Lengths:
        """The longest request that can come."""
        before = self.system + 4 * (self.turns * self.user + (self.turns - 1) * self.answer)
        return Lengths(before, 4 * self.answer)

    def lengths(self, random: Random) -> Iterator[Lengths]:
        """Yield lengths without end."""
        under_way = [_Conversation(index, self.system) for index in range(self.active)]
        started = self.active
        while True:
            place = random.randrange(self.active)
            talk = under_way[place]
            talk.tokens += _message_tokens(random, self.user)
            answer_tokens = _message_tokens(random, self.answer)
            yield Lengths(talk.tokens, answer_tokens, self._block_hashes(talk.number, talk.tokens + answer_tokens))
            talk.tokens += answer_tokens
            talk.turns += 1
            if talk.turns == self.turns:
                under_way[place] = _Conversation(started, self.system)
                started += 1

    def _block_hashes(self, number: int, tokens: int) -> tuple[int, ...]:
        """Name each full block by what it and all before it hold: the system prompt, or so much of a conversation."""
        shared = self.system // BLOCK_TOKENS
        return tuple(
            -1 - block if block < shared else (number << 32) + block for block in range(tokens // BLOCK_TOKENS)
        )


@dataclass(slots=True)
class _Conversation:
    number: int
    tokens: int
    turns: int = 0


def _message_tokens(random: Random, mean: int) -> int:
    return max(1, round(min(random.expovariate(1.0), 4.0) * mean))


class Drawn(LengthSource, Protocol):
    """Lengths that are drawn, and their bound."""

    @property
    def longest(self) -> Lengths:
        """The longest request that can come."""
        ...


@dataclass(frozen=True, slots=True)
class User:
    """A kind of user: their share of the requests and the longest time between tokens that they accept."""

    name: str
    share: float
    tbt_limit_seconds: float
    priority: int = 0
    """Lower is served first, by schedulers that know priorities."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"user {self.name}: share must be between 0 and 1, not {self.share:g}")
        if self.tbt_limit_seconds <= 0:
            raise ValueError(f"user {self.name}: the TBT limit must be above 0 seconds, not {self.tbt_limit_seconds:g}")


PAPER_A_USERS = (User("strict", 0.05, 0.1), User("relaxed", 0.95, 0.5, priority=1))
"""Users of the evaluation of arXiv 2508.01002: 5 % pay for 0.1 s between tokens, the others accept 0.5 s."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrives; `user` counts from 0 in the workload's users."""

    seconds: float
    lengths: Lengths
    user: int


@dataclass(frozen=True, slots=True)
class Workload:
    """A stream of requests, the same for the same fields on every machine."""

    arrivals: Arrivals
    lengths: LengthSource
    users: tuple[User, ...] = field(default=PAPER_A_USERS)
    requests: int = 16_384
    seed: int = 42

    def calls(self, qps: float) -> Iterator[Call]:
        """Yield `requests` requests in the order of their arrival."""
        times = self.arrivals.times(qps, self._random("arrivals"))
        lengths = self.lengths.lengths(self._random("lengths"))
        users = self._users()
        for seconds in islice(times, self.requests):
            yield Call(seconds, next(lengths), next(users))

    def _users(self) -> Iterator[int]:
        random = self._random("users")
        bounds = list(accumulate(user.share for user in self.users))
        while True:
            drawn = random.random()
            yield next((index for index, bound in enumerate(bounds) if drawn < bound), len(bounds) - 1)

    def _random(self, what: str) -> Random:
        return Random(f"{what}/{self.seed}")  # noqa: S311 - a workload, not secrets
