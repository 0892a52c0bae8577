"""The batch loop in real time: one task forms a batch, lets its time pass, and hands every request its token.

Batches follow one another on absolute deadlines, so timer errors do not add up: a batch that was completed late is
followed by a shorter wait. Only when the process itself cannot keep up is the schedule moved, so that a pause is not
followed by a burst of batches that no hardware could run. The clock is `time.monotonic`, because uvloop's own counts
whole milliseconds.

A batch has in it what had arrived when it was due to start, not what came while the process was late in starting it: the
same requests at the same times make the same batches as under a virtual clock.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead_engine.batch_log import Header, RecordedCore
from fairlead_engine.batching import Core
from fairlead_engine.mock.errors import GenerationStoppedError
from fairlead_engine.mock.faults import Fault, Faults
from fairlead_engine.mock.generation import Answer
from fairlead_engine.mock.metrics import EngineMetrics, Timeline
from fairlead_engine.mock.models import Models
from fairlead_engine.mock.settings import Settings
from fairlead_engine.types import Batch, Request, Token

MAX_LAG_SECONDS = 0.05
"""How far the batch loop may be behind its schedule before the schedule is moved."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a request was promised, for schedulers that know classes and limits."""

    slo_class: str = ""
    tbt_limit_seconds: float | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to be computed, and the answer that it gets; None where the prompt's result is all, as an embedding."""

    prompt_tokens: int
    answer: Answer | None = None
    block_hashes: tuple[int, ...] = ()

    @property
    def output_tokens(self) -> int:
        """Tokens that the batch loop yields: a result without an answer comes as one."""
        return 1 if self.answer is None else self.answer.tokens

    @property
    def generated_tokens(self) -> int:
        """Tokens of text."""
        return 0 if self.answer is None else self.answer.tokens


class Generation:
    """The answers to one HTTP request: the batch loop puts tokens in, the request's handler takes them out."""

    def __init__(self, response_id: str, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.cached_tokens: list[int] = [0] * len(jobs)
        """Tokens of each prompt that were in the prefix cache."""
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

    async def complete(self) -> None:
        """Return when all tokens are there; GenerationStoppedError when the engine gave the request up."""
        left_tokens = sum(job.output_tokens for job in self.jobs)
        while left_tokens:
            left_tokens -= len(await self.take())

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

    def __init__(self, settings: Settings, *, write_log: Callable[[str], object] | None = None) -> None:
        """Build an engine; `write_log` gets the batch log line by line."""
        self.settings = settings
        header = Header(
            settings.scheduler, settings.scheduler_options, settings.limits, prefix_cache=settings.prefix_cache
        )
        self._calls: Core | RecordedCore = header.core() if write_log is None else RecordedCore(header, write_log)
        self.core = self._calls.core if isinstance(self._calls, RecordedCore) else self._calls
        """For reading: calls go through the batch log, where there is one."""
        self.models = Models(settings)
        self.faults = Faults(settings.faults, seed=settings.fault_seed, now=time.monotonic())
        self.metrics = EngineMetrics(settings, self.core)
        self.totals = Totals()
        self.accepting = True
        self._tracked: dict[str, _Tracked] = {}
        self._next_start = math.inf
        """When the next batch is due to start; infinite while there is nothing to do."""
        self._late: dict[str, tuple[Request, float]] = {}
        """What arrived after the next batch was due to start, and so is for the one after it."""
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, response_id: str, jobs: Sequence[Job], promise: Promise) -> Generation:
        """Put the jobs of one HTTP request into the waiting list.

        The settings allow no request that could never run, so that the core refuses none.
        """
        generation = Generation(response_id, jobs)
        now = time.monotonic()
        for choice, (request_id, job) in enumerate(zip(generation.request_ids, jobs, strict=True)):
            request = Request(
                request_id,
                job.prompt_tokens,
                job.output_tokens,
                slo_class=promise.slo_class,
                tbt_limit_seconds=promise.tbt_limit_seconds,
                priority=promise.priority,
                block_hashes=job.block_hashes,
            )
            self._add(request, now)
            self._tracked[request_id] = _Tracked(generation, choice, Timeline(now))
        self._idle.clear()
        if not self._work.is_set():
            self._next_start = now
            self._work.set()
        return generation

    def _add(self, request: Request, now: float) -> None:
        if now > self._next_start:
            self._late[request.request_id] = request, now
        else:
            self._calls.add(request, now)

    def _add_late(self) -> float | None:
        """Give the batch loop what was not for the batch that it has just formed; return when the last of it arrived."""
        late, self._late = self._late, {}
        for request, arrived in late.values():
            self._calls.add(request, arrived)
        return max((arrived for _, arrived in late.values()), default=None)

    def set_faults(self, faults: Sequence[Fault], *, seed: int) -> None:
        """Put faults into force instead of all others."""
        self.faults.replace(faults, seed=seed, now=time.monotonic())

    def abort(self, generation: Generation) -> None:
        """Give up what is left of a generation and free its memory at once; nothing happens when it is complete."""
        for request_id in generation.request_ids:
            if request_id in self._tracked:
                if self._late.pop(request_id, None) is None:
                    self._calls.abort(request_id)
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
        while True:
            await self._work.wait()
            start = self._next_start
            batch = self._calls.next_batch(start)
            last_arrival = self._add_late()
            if batch is None:
                self._next_start = math.inf if last_arrival is None else last_arrival
                if last_arrival is None:
                    self._work.clear()
                continue
            self._note_scheduled(batch, time.monotonic())
            scale = self.settings.time_scale * self.faults.slowdown(start)
            self._next_start = start + self.settings.batch_time.seconds(batch) * scale
            await asyncio.sleep(max(0.0, self._next_start - time.monotonic()))
            now = time.monotonic()
            self._next_start = max(self._next_start, now - MAX_LAG_SECONDS)
            self._deliver(self._calls.complete(batch, self._next_start), now)

    def _note_scheduled(self, batch: Batch, now: float) -> None:
        if batch.admitted:
            cached_tokens = {chunk.request_id: chunk.processed_tokens for chunk in batch.prefills}
            for request_id in batch.admitted:
                tracked = self._tracked[request_id]
                if not tracked.times.admitted:
                    tracked.times.admitted = now
                    tracked.generation.cached_tokens[tracked.choice] = cached_tokens.get(request_id, 0)
        for request_id in batch.preempted:
            self._tracked[request_id].times.preemptions += 1
        self.metrics.preempted(len(batch.preempted))

    def _deliver(self, tokens: Sequence[Token], now: float) -> None:
        prompt_tokens = generated_tokens = 0
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
            generated_tokens += job.answer is not None
            tracked.generation.put(tracked.choice)
            if token.finished:
                self._finish(token.request_id, job, times)
        if tokens:
            self.metrics.batch(prompt_tokens=prompt_tokens, generated_tokens=generated_tokens)

    def _finish(self, request_id: str, job: Job, times: Timeline) -> None:
        self._forget(request_id)
        self.totals.finished += 1
        reason = "stop" if job.answer is None else job.answer.finish_reason
        self.metrics.finished(reason, times, prompt_tokens=job.prompt_tokens, output_tokens=job.generated_tokens)

    def _forget(self, request_id: str) -> None:
        del self._tracked[request_id]
        if not self._tracked:
            self._idle.set()
