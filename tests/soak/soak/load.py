"""Requests at a rate, whatever becomes of those before them; and the rate that a router holds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from soak.answers import Outcome
from soak.client import Client, Record
from soak.engine import TOKEN_SECONDS

TRIAL_SECONDS = 3.0
SETTLE_SECONDS = 30.0
"""The longest answer takes 9 s, and may be sent once more in its last moment."""
CLASSES = ("interactive", "batch")


@dataclass(frozen=True, slots=True)
class Mix:
    """What is asked for; shares are of all requests."""

    short_tokens: tuple[int, int] = (10, 50)
    long_tokens: int = 300
    long_share: float = 0.1
    whole_share: float = 0.15
    """Answers that are not streamed; always short."""
    hang_up_share: float = 0.04

    @property
    def mean_tokens(self) -> float:
        """Tokens per request, those of clients that hang up included."""
        return (1 - self.long_share) * sum(self.short_tokens) / 2 + self.long_share * self.long_tokens


ONE_SECOND = Mix((33, 33), long_share=0, whole_share=0, hang_up_share=0)
"""Streams that all take a second: a rate shows within two what it does."""


class Load:
    """Sends requests of a mix at a rate per second, and keeps their records."""

    def __init__(self, client: Client, random: Random) -> None:
        self.records: list[Record] = []
        self._client = client
        self._random = random

    @property
    def runs(self) -> bool:
        """Whether a request has not ended."""
        return any(record.outcome is None for record in reversed(self.records))

    @asynccontextmanager
    async def sending(self, rate: float, mix: Mix) -> AsyncIterator[None]:
        """Send in the background."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._send(rate, mix, tasks))
            yield
            task.cancel()

    async def send(self, mix: Mix) -> Record:
        """Send one request."""
        random = self._random
        is_long = random.random() < mix.long_share
        tokens = mix.long_tokens if is_long else random.randint(*mix.short_tokens)
        record = Record(f"soak-{len(self.records):07}", is_long or random.random() >= mix.whole_share, tokens)
        self.records.append(record)
        gives_up = random.random() < mix.hang_up_share
        hang_up_after = random.random() * tokens * TOKEN_SECONDS if gives_up else None
        await self._client.send(record, random.choice(CLASSES), hang_up_after)
        return record

    async def _send(self, rate: float, mix: Mix, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._random.expovariate(rate)
            await asyncio.sleep(due - loop.time())
            tasks.create_task(self.send(mix))


def is_held(records: list[Record]) -> bool:
    """Whether streams came as fast as engines sent them: 99 % took at most a tenth of a second and 10 % longer."""
    late = sum(
        record.outcome is not Outcome.WHOLE
        or record.ended_at - record.sent_at > 1.1 * record.tokens * TOKEN_SECONDS + 0.1
        for record in records
    )
    return late <= len(records) / 100


async def held_rate(load: Load, tell: Callable[[str], None], *, first: float = 40) -> float:
    """Return the most chunks per second that held, trying rates one after another, each 1.3 times the one before."""
    rate, held = first, 0.0
    while await _holds(load, rate, tell) or await _holds(load, rate, tell):  # twice: others may have had the machine
        held = rate * ONE_SECOND.mean_tokens
        rate *= 1.3
    return held


async def _holds(load: Load, rate: float, tell: Callable[[str], None]) -> bool:
    before = len(load.records)
    async with load.sending(rate, ONE_SECOND):
        await asyncio.sleep(TRIAL_SECONDS)
    await settled(load)
    held = is_held(load.records[before:])
    tell(f"{rate * ONE_SECOND.mean_tokens:.0f} chunks/s: {'held' if held else 'not held'}")
    return held


async def settled(load: Load) -> None:
    """Wait until every request has ended, or none of the last ones can still be on its way."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_SECONDS
    while load.runs and loop.time() < deadline:  # noqa: ASYNC110 - what ends a request is in other processes
        await asyncio.sleep(0.05)
