"""What holds of every scheduler, whatever arrives."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_engine import UNLIMITED

from fairlead_engine.batching import Core, Limits
from fairlead_engine.blocks import blocks_for
from fairlead_engine.schedulers import SCHEDULERS, SchedulerKind
from fairlead_engine.types import Batch, Request

QUICKLY = settings(max_examples=40)
"""Per scheduler, of which there are many."""
EVERY_SCHEDULER = pytest.mark.parametrize("kind", SCHEDULERS.values(), ids=SCHEDULERS.keys())
WORK_CONSERVING = pytest.mark.parametrize(
    "kind", [SCHEDULERS[name] for name in ("sarathi", "sarathi-spf", "orca-chunked", "slai", "slai-fcfs-fixed")],
    ids=lambda kind: kind.name,
)  # fmt: skip
SIZES = st.tuples(st.integers(1, 90), st.integers(1, 30))
STEPS = st.lists(st.one_of(SIZES, st.none()), max_size=20)
"""An arrival is a request's lengths; None lets a batch pass before the next."""


@st.composite
def cores(draw: st.DrawFn, kind: SchedulerKind) -> Core:
    """Draw a small engine with the kind of memory that the scheduler was published with."""
    limits = Limits(
        max_num_batched_tokens=draw(st.integers(8, 64)) if kind.limits.max_num_batched_tokens else None,
        max_num_seqs=draw(st.integers(1, 8)),
        num_gpu_blocks=draw(st.integers(8, 40)),
        max_requests_per_batch=draw(st.one_of(st.none(), st.integers(1, 8))),
        reserved_tokens=128 if kind.limits.reserved_tokens else None,
    )
    prefix_cache = limits.reserved_tokens is None and draw(st.booleans())
    return Core(limits, kind(), first_token_with_prefill=draw(st.booleans()), prefix_cache=prefix_cache)


@st.composite
def requests(draw: st.DrawFn, name: str, sizes: tuple[int, int]) -> Request:
    """Draw what else a request has. Prompts are words of two letters, so that prefixes are often shared."""
    word = draw(st.text("ab", min_size=sizes[0] // 16, max_size=sizes[0] // 16))
    return Request(
        name,
        *sizes,
        tbt_limit_seconds=draw(st.sampled_from([None, 0.1, 0.5])),
        priority=draw(st.integers(0, 1)),
        block_hashes=tuple(int.from_bytes(word[: end + 1].encode()) for end in range(len(word))),
    )


@dataclass
class Progress:
    """What a request has, by the batches alone."""

    request: Request
    computed: int = 0
    generated: int = 0

    @property
    def prompt_is_done(self) -> bool:
        return self.computed >= self.request.prompt_tokens


@dataclass
class Observer:
    """Runs a core and checks, batch by batch, what must hold of any schedule."""

    core: Core
    now: float = 0.0
    progress: dict[str, Progress] = field(default_factory=dict)

    def add(self, request: Request) -> None:
        """Add a request, unless the engine says that it can never run it."""
        try:
            self.core.add(request, self.now)
        except ValueError:
            return
        self.progress[request.request_id] = Progress(request)

    def run_batch(self, during: Callable[[], None] = lambda: None) -> None:
        batch = self.core.next_batch(self.now)
        assert batch is not None, "requests are in the engine, and it has nothing to do"
        self._check_limits(batch)
        for name in batch.preempted:
            self.progress[name].computed = 0
        contexts = 0
        for name in batch.decodes:
            assert self.progress[name].prompt_is_done
            contexts += self.progress[name].computed
            self.progress[name].computed += 1
        assert batch.context_tokens == contexts
        for chunk in batch.prefills:
            progress = self.progress[chunk.request_id]
            assert chunk.request_id in batch.admitted or chunk.processed_tokens == progress.computed
            progress.computed = chunk.processed_tokens + chunk.tokens
        self._check_memory()
        during()
        self.now += 0.05 + 0.001 * batch.tokens
        self._complete(batch)

    def _check_limits(self, batch: Batch) -> None:
        limits = self.core.limits
        members = [*batch.decodes, *(chunk.request_id for chunk in batch.prefills)]
        assert 0 < batch.tokens <= (limits.max_num_batched_tokens or UNLIMITED)
        assert all(chunk.tokens > 0 for chunk in batch.prefills)
        assert len(set(members)) == len(members) <= (limits.max_requests_per_batch or UNLIMITED)
        assert self.core.running <= limits.max_num_seqs
        assert 0 <= self.core.used_blocks <= limits.num_gpu_blocks
        assert not set(batch.preempted) & {*members, *batch.admitted}

    def _check_memory(self) -> None:
        """Every computed token has a place, and every used block has a holder."""
        state = self.core.state
        running = [*state.prefilling, *state.decoding]
        shared = {block_hash for sequence in running for block_hash in sequence.held_hashes}
        private = sum(sequence.blocks - len(sequence.held_hashes) for sequence in running)
        assert self.core.used_blocks == private + len(shared)
        for sequence in running:
            assert blocks_for(self.progress[sequence.request_id].computed) <= sequence.blocks

    def _complete(self, batch: Batch) -> None:
        tokens = self.core.complete(batch, self.now)
        assert max(Counter(token.request_id for token in tokens).values(), default=0) <= 1
        first = self.core.first_token_with_prefill
        for token in tokens:
            progress = self.progress[token.request_id]
            assert progress.computed == progress.request.prompt_tokens + progress.generated + (not first)
            progress.generated += 1
            assert token.finished == (progress.generated == progress.request.output_tokens)
            if token.finished:
                del self.progress[token.request_id]

    def run_to_the_end(self) -> None:
        for _ in range(20_000):
            if not self.progress:
                break
            self.run_batch()
        assert not self.progress
        assert (self.core.running, self.core.waiting, self.core.used_blocks) == (0, 0, 0)
        assert self.core.next_batch(self.now) is None


@EVERY_SCHEDULER
@QUICKLY
@given(data=st.data(), steps=STEPS)
def test_every_schedule_keeps_the_limits_and_ends_every_request(
    kind: SchedulerKind, data: st.DataObject, steps: list[tuple[int, int] | None]
) -> None:
    observer = Observer(data.draw(cores(kind)))
    for number, sizes in enumerate(steps):
        if sizes is not None:
            observer.add(data.draw(requests(f"r{number}", sizes)))
        elif observer.progress:
            observer.run_batch()
    observer.run_to_the_end()


@EVERY_SCHEDULER
@QUICKLY
@given(data=st.data(), sizes=st.lists(SIZES, min_size=1, max_size=10))
def test_aborts_at_any_moment_leave_no_memory_behind(
    kind: SchedulerKind, data: st.DataObject, sizes: list[tuple[int, int]]
) -> None:
    observer = Observer(data.draw(cores(kind)))
    for number, size in enumerate(sizes):
        observer.add(data.draw(requests(f"r{number}", size)))

    def abort() -> None:
        victim = data.draw(st.sampled_from([None, *observer.progress]))
        if victim is not None:
            assert observer.core.abort(victim)
            del observer.progress[victim]

    for _ in range(10):
        abort()
        if observer.progress:
            observer.run_batch(during=abort)
    observer.run_to_the_end()


@WORK_CONSERVING
@QUICKLY
@given(data=st.data(), budget=st.integers(4, 64), steps=STEPS)
def test_a_work_conserving_scheduler_fills_every_batch_that_it_could_fill(
    kind: SchedulerKind, data: st.DataObject, budget: int, steps: list[tuple[int, int] | None]
) -> None:
    """arXiv 2504.07347, eqs (8) and (9): min(b_max, demand) tokens, where memory is no limit."""
    limits = replace(kind.limits, max_num_batched_tokens=budget, num_gpu_blocks=UNLIMITED)
    core = Core(limits, kind(), first_token_with_prefill=data.draw(st.booleans()))
    now, left, alive = 0.0, dict[str, int](), set[str]()
    for number, sizes in enumerate([*steps, *[None] * 50]):
        if sizes is not None:
            request = data.draw(requests(f"r{number}", sizes))
            core.add(request, now)
            left[request.request_id] = request.prompt_tokens
            alive.add(request.request_id)
            continue
        batch = core.next_batch(now)
        demand = sum(left[name] or 1 for name in alive)
        assert (batch.tokens if batch else 0) == min(budget, demand)
        if batch is None:
            continue
        for chunk in batch.prefills:
            left[chunk.request_id] -= chunk.tokens
        now += 0.05 + 0.001 * batch.tokens
        alive -= {token.request_id for token in core.complete(batch, now) if token.finished}


@EVERY_SCHEDULER
@QUICKLY
@given(data=st.data(), sizes=st.lists(SIZES, max_size=10))
def test_the_same_requests_give_the_same_batches(
    kind: SchedulerKind, data: st.DataObject, sizes: list[tuple[int, int]]
) -> None:
    runs = []
    drawn = [data.draw(requests(f"r{number}", size)) for number, size in enumerate(sizes)]
    for _ in range(2):
        core, now, batches = Core(replace(kind.limits, max_num_seqs=3), kind()), 0.0, []
        for request in drawn:
            core.add(request, now)
        while batch := core.next_batch(now):
            batches.append(batch)
            now += 0.05 + 0.001 * batch.tokens
            core.complete(batch, now)
        runs.append(batches)
    assert runs[0] == runs[1]
