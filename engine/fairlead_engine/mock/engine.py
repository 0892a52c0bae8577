"""The batch loop in real time: one task forms a batch, lets its time pass, and hands every request its token.

Batches follow one another on absolute deadlines, so timer errors do not add up: a batch that was completed late is
followed by a shorter wait. Only when the process itself cannot keep up is the schedule moved, so that a pause is not
followed by a burst of batches that no hardware could run. The clock is `time.monotonic`, because uvloop's own counts
whole milliseconds.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_engine.batching import Core
from fairlead_engine.mock.errors import GenerationStoppedError
from fairlead_engine.mock.generation import Answer
from fairlead_engine.mock.metrics import EngineMetrics, Timeline
from fairlead_engine.mock.settings import Settings
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Batch, Request, Token

MAX_LAG_SECONDS = 0.05
"""How far the batch loop may be behind its schedule before the schedule is moved."""


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to be generated."""

    prompt_tokens: int
    answer: Answer


class Generation:
    """The answers to one HTTP request: the batch loop puts tokens in, the request's handler takes them out."""

    def __init__(self, response_id: str, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.request_ids = tuple(f"{response_id}-{choice}" for choice in range(len(jobs)))
        self._arrived: list[int] = []
        self._wake = asyncio.Event()
        self._stopped = False

    def put(self, choice: int) -> None:
        """Hand over the next token of a choice."""
        self._arrived.append(choice)
        self._wake.set()

    def stop(self) -> None:
        """Tell the handler that no token will follow."""
        self._stopped = True
        self._wake.set()

    async def take(self) -> list[int]:
        """Return the choices that got a token since the last call, one entry per token, once there is one.

        Raises
        ------
        GenerationStoppedError
            The engine gave the request up.

        """
        await self._wake.wait()
        if self._stopped:
            raise GenerationStoppedError
        self._wake.clear()
        arrived, self._arrived = self._arrived, []
        return arrived


@dataclass(slots=True)
class _Tracked:
    """A request in the batch loop, and where its tokens go."""

    generation: Generation
    choice: int
    times: Timeline


@dataclass(slots=True)
class Totals:
    """Requests that have ended since the start."""

    finished: int = 0
    aborted: int = 0


class Engine:
    """A batch loop in real time. `run` drives it; everything else is called from the same event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.core = Core(settings.limits, SCHEDULERS[settings.scheduler](settings.scheduler_options))
        self.metrics = EngineMetrics(settings, self.core)
        self.totals = Totals()
        self.accepting = True
        self._tracked: dict[str, _Tracked] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, response_id: str, jobs: Sequence[Job]) -> Generation:
        """Put the answers of one HTTP request into the waiting list."""
        generation = Generation(response_id, jobs)
        now = time.monotonic()
        for choice, (request_id, job) in enumerate(zip(generation.request_ids, jobs, strict=True)):
            self.core.add(Request(request_id, job.prompt_tokens, job.answer.tokens), now)
            self._tracked[request_id] = _Tracked(generation, choice, Timeline(now))
        self._idle.clear()
        self._work.set()
        return generation

    def abort(self, generation: Generation) -> None:
        """Give up what is left of a generation and free its memory at once; nothing happens when it is complete."""
        for request_id in generation.request_ids:
            if request_id in self._tracked:
                self.core.abort(request_id)
                self._forget(request_id)
                self.totals.aborted += 1
                self.metrics.aborted()
                generation.stop()

    def abort_all(self) -> None:
        """Give up every generation."""
        for tracked in list(self._tracked.values()):
            self.abort(tracked.generation)

    async def idle(self) -> None:
        """Return once no request is waiting or running."""
        await self._idle.wait()

    async def run(self) -> None:
        """Run batches until cancelled."""
        start = time.monotonic()
        while True:
            batch = self.core.next_batch(start)
            if batch is None:
                self._work.clear()
                await self._work.wait()
                start = time.monotonic()
                continue
            self._note_scheduled(batch, time.monotonic())
            deadline = start + self.settings.batch_time.seconds(batch) * self.settings.time_scale
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
            now = time.monotonic()
            start = max(deadline, now - MAX_LAG_SECONDS)
            self._deliver(self.core.complete(batch, start), now)

    def _note_scheduled(self, batch: Batch, now: float) -> None:
        for request_id in batch.admitted:
            times = self._tracked[request_id].times
            times.admitted = times.admitted or now
        for request_id in batch.preempted:
            self._tracked[request_id].times.preemptions += 1
        self.metrics.preempted(len(batch.preempted))

    def _deliver(self, tokens: Sequence[Token], now: float) -> None:
        prompt_tokens = 0
        for token in tokens:
            tracked = self._tracked[token.request_id]
            job = tracked.generation.jobs[tracked.choice]
            times = tracked.times
            if times.first_token:
                self.metrics.token_gap(now - times.last_token)
            else:
                times.first_token = now
                prompt_tokens += job.prompt_tokens
                self.metrics.first_token(now - times.arrived, prompt_tokens=job.prompt_tokens)
            times.last_token = now
            tracked.generation.put(tracked.choice)
            if token.finished:
                self._finish(token.request_id, job, times)
        if tokens:
            self.metrics.batch(prompt_tokens=prompt_tokens, generated_tokens=len(tokens))

    def _finish(self, request_id: str, job: Job, times: Timeline) -> None:
        self._forget(request_id)
        self.totals.finished += 1
        answer = job.answer
        self.metrics.finished(answer.finish_reason, times, prompt_tokens=job.prompt_tokens, output_tokens=answer.tokens)

    def _forget(self, request_id: str) -> None:
        del self._tracked[request_id]
        if not self._tracked:
            self._idle.set()
