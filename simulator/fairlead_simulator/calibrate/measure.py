"""Measure the batches of a running engine from outside, through its OpenAI API.

* Prefill: one request at a time, one output token. Its TTFT is the time of the batches that its prompt takes: one, or
  several for a prompt beyond the engine's token budget of a batch. Only those tell attention from the rest.
* Decode: several streams at once, until all run. The gap between two tokens of a stream is the time of one batch.

No prompt is sent twice, so that a prefix cache finds nothing. The time that HTTP itself takes, the median answer to
`/health`, is taken off the TTFTs.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from statistics import median
from typing import Any

import aiohttp
import orjson

from fairlead_simulator.calibrate.fit import Measurement, prompt_measurement

PROBES = 9
GAPS = 24
"""Tokens of every stream that are looked at, after the first ones."""
SETTLING_TOKENS = 4
"""Tokens of every stream that are left out at its start and end: there other streams may still be in prefill."""
BYTES_PER_TOKEN = 4
"""Of an English prompt, roughly; the engine's own count is what is used in the end."""


class EngineError(Exception):
    """The engine cannot be measured; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    prompt_tokens: tuple[int, ...]
    """Prompts sent one at a time."""
    streams: tuple[int, ...]
    """Numbers of streams that run at once."""
    context_tokens: tuple[int, ...]
    """Prompt lengths of the streams."""
    budget_tokens: int
    """The engine's token budget of a batch."""
    repeats: int = 5

    @property
    def steps(self) -> int:
        """Measurements that the plan makes."""
        return len(self.prompt_tokens) + len(self.streams) * len(self.context_tokens)


class Engine:
    """A running engine."""

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._model = model
        self._serial = count()

    async def http_seconds(self) -> float:
        """Give the median time of an answer that takes the engine no work."""
        times = []
        for _ in range(PROBES):
            started = time.perf_counter()
            async with self._session.get(f"{self._url}/health") as answer:
                await answer.read()
            times.append(time.perf_counter() - started)
        return median(times)

    async def measure(self, plan: Plan, advance: Callable[[], None]) -> list[Measurement]:
        """Carry out a plan; `advance` is called after every measurement.

        Raises
        ------
        EngineError
            The engine refuses a request or does not report its usage.

        """
        http_seconds = await self.http_seconds()
        await self._stream(64, 2)  # the first request of all may warm something up
        measured = []
        for tokens in plan.prompt_tokens:
            measured.append(await self._prefill(tokens, plan, http_seconds))
            advance()
        for streams in plan.streams:
            for tokens in plan.context_tokens:
                measured.append(await self._decode(streams, tokens))
                advance()
        return measured

    async def _prefill(self, tokens: int, plan: Plan, http_seconds: float) -> Measurement:
        answers = [await self._stream(tokens, 1) for _ in range(plan.repeats)]
        counted = round(median(answer.prompt_tokens for answer in answers))
        seconds = median(answer.arrivals[0] - answer.started for answer in answers) - http_seconds
        return prompt_measurement(counted, plan.budget_tokens, max(seconds, 1e-6))

    async def _decode(self, streams: int, context_tokens: int) -> Measurement:
        output_tokens = GAPS + 2 * SETTLING_TOKENS + streams * context_tokens // 256
        answers = await asyncio.gather(*(self._stream(context_tokens, output_tokens) for _ in range(streams)))
        begun = max(answer.arrivals[SETTLING_TOKENS] for answer in answers)
        over = min(answer.arrivals[-1 - SETTLING_TOKENS] for answer in answers)
        gaps, contexts = [], []
        for answer in answers:
            inside = [(at, number) for number, at in enumerate(answer.arrivals) if begun <= at <= over]
            gaps += [later[0] - earlier[0] for earlier, later in pairwise(inside)]
            contexts += [answer.prompt_tokens + number for _, number in inside]
        if not gaps:
            raise EngineError(f"{streams} streams never ran at the same time: the engine may limit its batch")
        return Measurement((streams,), 0.0, round(streams * sum(contexts) / len(contexts)), median(gaps))

    async def _stream(self, prompt_tokens: int, output_tokens: int) -> "Streamed":
        body = {
            "model": self._model,
            "prompt": _prompt(next(self._serial), prompt_tokens),
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started = time.perf_counter()
        arrivals: list[float] = []
        usage: dict[str, Any] = {}
        async with self._session.post(f"{self._url}/v1/completions", json=body) as answer:
            if answer.status != 200:
                raise EngineError(f"{answer.status} {(await answer.text())[:300]}")
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = orjson.loads(line[6:])
                usage = chunk.get("usage") or usage
                if any(choice.get("text") for choice in chunk.get("choices", ())):
                    arrivals.append(time.perf_counter())
        if "prompt_tokens" not in usage or not arrivals:
            raise EngineError("the answer has no usage or no tokens: is this an OpenAI engine?")
        return Streamed(started, arrivals, usage["prompt_tokens"])


@dataclass(frozen=True, slots=True)
class Streamed:
    """One measured stream; times in seconds of the monotonic clock."""

    started: float
    arrivals: Sequence[float]
    prompt_tokens: int


def _prompt(serial: int, tokens: int) -> str:
    """Give a prompt of about so many tokens whose first block no other prompt shares."""
    head = f"{serial:08d} {time.time_ns()} "
    return (head + "The sea is wide and the wind is fair. " * tokens)[: max(1, tokens * BYTES_PER_TOKEN)]
