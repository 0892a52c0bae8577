"""The batch loop: who shares a batch, and what holds of every schedule."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.batching import Core, Limits
from fairlead_engine.kv_memory import blocks_for
from fairlead_engine.types import Batch, Decode, PrefillChunk, Request

ROOM_FOR_100 = Limits(max_num_batched_tokens=512, num_gpu_blocks=100)


def core_with(*requests: Request, limits: Limits | None = None) -> Core:
    core = Core(limits or Limits())
    for request in requests:
        core.add(request)
    return core


def step(core: Core) -> Batch:
    """Run one batch that must exist."""
    batch = core.next_batch()
    assert batch is not None
    core.complete(batch)
    return batch


def run_to_the_end(core: Core, limit: int = 100_000) -> list[Batch]:
    batches = []
    while core.running or core.waiting:
        batches.append(step(core))
        assert len(batches) < limit
    return batches


def test_an_engine_without_requests_has_no_batch() -> None:
    assert Core(Limits()).next_batch() is None


def test_a_prompt_is_prefilled_in_chunks_of_the_token_budget() -> None:
    core = core_with(Request("a", 1200, 1))
    chunks = [batch.prefills for batch in run_to_the_end(core)]
    assert chunks == [(PrefillChunk("a", 512, 0),), (PrefillChunk("a", 512, 512),), (PrefillChunk("a", 176, 1024),)]


def test_the_first_token_comes_with_the_last_chunk_and_each_decode_brings_one_more() -> None:
    core = core_with(Request("a", 600, 3))
    tokens = []
    while batch := core.next_batch():
        tokens.append([(token.request_id, token.finished) for token in core.complete(batch)])
    assert tokens == [[], [("a", False)], [("a", False)], [("a", True)]]


def test_decodes_come_first_and_prefills_share_what_is_left_of_the_budget() -> None:
    core = core_with(Request("a", 10, 5))
    step(core)
    core.add(Request("b", 600, 5))
    core.add(Request("c", 600, 5))
    assert step(core) == Batch((Decode("a", 10),), (PrefillChunk("b", 511, 0),), admitted=("b",))
    assert step(core) == Batch(
        (Decode("a", 11),), (PrefillChunk("b", 89, 511), PrefillChunk("c", 422, 0)), admitted=("c",)
    )


def test_requests_are_admitted_first_come_first_served_up_to_the_running_limit() -> None:
    limits = Limits(max_num_batched_tokens=100, max_num_seqs=2)
    core = core_with(*(Request(name, 5, 2) for name in "abc"), limits=limits)
    assert step(core).admitted == ("a", "b")
    assert (core.running, core.waiting) == (2, 1)
    step(core)
    assert step(core).admitted == ("c",)


def test_a_prompt_that_does_not_fit_holds_back_those_behind_it() -> None:
    limits = Limits(max_num_batched_tokens=512, max_num_seqs=8, num_gpu_blocks=20)
    core = core_with(Request("a", 160, 9), Request("b", 200, 9), Request("c", 16, 9), limits=limits)
    assert step(core).admitted == ("a",)
    assert step(core).admitted == ()
    assert (core.running, core.waiting) == (1, 2)


def test_an_admission_leaves_one_percent_of_the_blocks_free() -> None:
    core = core_with(
        Request("a", 97 * 16 - 9, 9), Request("b", 3 * 16, 1), Request("c", 2 * 16, 1), limits=ROOM_FOR_100
    )
    while not core.used_blocks:
        step(core)
    # 97 blocks are taken and 3 are free: `b` would take the last one, and `c` waits behind it.
    assert [step(core).admitted for _ in range(4)] == [(), (), (), ()]
    core.abort("b")
    assert step(core).admitted == ("c",)


def test_when_memory_runs_out_the_newest_request_is_preempted_and_recomputed() -> None:
    limits = Limits(max_num_batched_tokens=64, max_num_seqs=2, num_gpu_blocks=4)
    core = core_with(Request("old", 31, 20), Request("new", 31, 5), limits=limits)
    batches = run_to_the_end(core)
    preemptions = [(i, batch) for i, batch in enumerate(batches) if batch.preempted]
    assert [batch.preempted for _, batch in preemptions] == [("new",)]
    recomputed = next(b for b in batches[preemptions[0][0] + 1 :] if b.prefills)
    # Two tokens of `new` were out when the memory ran out: they are recomputed with the prompt, not generated again.
    assert recomputed.prefills == (PrefillChunk("new", 33, 0),)
    assert Counter(d.request_id for b in batches for d in b.decodes) == {"old": 19, "new": 3}


def test_an_abort_frees_the_memory_at_once_and_its_batch_yields_no_token() -> None:
    core = core_with(Request("a", 100, 50), Request("b", 100, 50))
    step(core)
    batch = core.next_batch()
    assert batch is not None
    held_blocks = core.used_blocks
    assert core.abort("a")
    assert core.used_blocks == held_blocks - blocks_for(101)
    assert [token.request_id for token in core.complete(batch)] == ["b"]
    assert core.running == 1


def test_an_abort_reaches_waiting_requests_and_forgives_unknown_ones() -> None:
    core = core_with(Request("a", 100, 50))
    assert core.abort("a")
    assert not core.abort("a")
    assert core.next_batch() is None


def test_a_request_that_can_never_fit_is_refused_with_its_size() -> None:
    core = Core(Limits(num_gpu_blocks=100))
    with pytest.raises(ValueError, match="2000 tokens need 125 KV blocks, and a request can have 99"):
        core.add(Request("huge", 1900, 100))


def test_an_id_in_use_is_refused() -> None:
    core = core_with(Request("a", 1, 2))
    with pytest.raises(ValueError, match="a is in the engine already"):
        core.add(Request("a", 1, 2))


def test_batches_follow_one_another() -> None:
    core = core_with(Request("a", 1, 2))
    batch = core.next_batch()
    assert batch is not None
    with pytest.raises(RuntimeError):
        core.next_batch()
    core.complete(batch)
    with pytest.raises(RuntimeError):
        core.complete(batch)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs must be at least 1"),
        (
            {"max_num_batched_tokens": 10, "max_num_seqs": 11},
            r"max_num_batched_tokens \(10\) must be at least max_num_seqs \(11\)",
        ),
        ({"num_gpu_blocks": 0}, "num_gpu_blocks must be at least 1"),
    ],
)
def test_impossible_limits_are_refused_by_name(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**values)


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0)])
def test_a_request_has_at_least_one_token_each_way(prompt: int, output: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        Request("a", prompt, output)


LIMITS = st.builds(
    Limits,
    max_num_batched_tokens=st.integers(8, 64),
    max_num_seqs=st.integers(1, 8),
    num_gpu_blocks=st.integers(8, 40),
)
LENGTHS = st.tuples(st.integers(1, 90), st.integers(1, 30))


@dataclass
class Progress:
    """What a request has, by the batches alone."""

    request: Request
    computed: int = 0
    generated: int = 0

    def preempt(self) -> None:
        self.computed = 0

    @property
    def prompt_is_done(self) -> bool:
        return self.computed >= self.request.prompt_tokens


@dataclass
class Observer:
    """Runs a core and checks, batch by batch, what must hold of any schedule."""

    core: Core
    progress: dict[str, Progress] = field(default_factory=dict)

    def add(self, name: str, prompt: int, output: int) -> None:
        request = Request(name, prompt, output)
        self.core.add(request)
        self.progress[name] = Progress(request)

    def run_batch(self) -> None:
        batch = self.core.next_batch()
        assert batch is not None, "requests are in the engine, and it has nothing to do"
        limits = self.core.limits
        members = [work.request_id for work in (*batch.decodes, *batch.prefills)]
        assert 0 < batch.tokens <= limits.max_num_batched_tokens
        assert len(set(members)) == len(members) <= limits.max_num_seqs
        assert self.core.used_blocks <= limits.num_gpu_blocks
        for name in batch.preempted:
            assert name not in members
            self.progress[name].preempt()
        for decode in batch.decodes:
            assert self.progress[decode.request_id].prompt_is_done
            assert decode.context_tokens == self.progress[decode.request_id].computed
            self.progress[decode.request_id].computed += 1
        for chunk in batch.prefills:
            assert chunk.processed_tokens == self.progress[chunk.request_id].computed
            self.progress[chunk.request_id].computed += chunk.tokens
        needed = sum(blocks_for(self.progress[name].computed) for name in self.progress)
        assert needed <= self.core.used_blocks
        self._complete(batch)

    def _complete(self, batch: Batch) -> None:
        tokens = self.core.complete(batch)
        assert max(Counter(token.request_id for token in tokens).values(), default=0) <= 1
        for token in tokens:
            progress = self.progress[token.request_id]
            assert progress.computed == progress.request.prompt_tokens + progress.generated
            progress.generated += 1
            assert token.finished == (progress.generated == progress.request.output_tokens)
            if token.finished:
                del self.progress[token.request_id]


@given(limits=LIMITS, arrivals=st.lists(st.one_of(LENGTHS, st.none()), max_size=25))
def test_every_schedule_keeps_the_limits_and_ends_every_request(
    limits: Limits, arrivals: list[tuple[int, int] | None]
) -> None:
    """An arrival is a request's lengths; None lets a batch pass before the next."""
    observer = Observer(Core(limits))
    for number, lengths in enumerate(arrivals):
        if lengths is None:
            if observer.progress:
                observer.run_batch()
        elif limits.fits(sum(lengths)):
            observer.add(f"r{number}", *lengths)
    for _ in range(100_000):
        if not observer.progress:
            break
        observer.run_batch()
    assert not observer.progress
    assert (observer.core.running, observer.core.waiting, observer.core.used_blocks) == (0, 0, 0)


@given(limits=LIMITS, lengths=st.lists(LENGTHS, min_size=1, max_size=12), data=st.data())
def test_aborts_at_any_moment_leave_no_memory_behind(
    limits: Limits, lengths: list[tuple[int, int]], data: st.DataObject
) -> None:
    core = Core(limits)
    alive = []
    for number, (prompt, output) in enumerate(lengths):
        if limits.fits(prompt + output):
            core.add(Request(f"r{number}", prompt, output))
            alive.append(f"r{number}")
    while alive:
        batch = core.next_batch()
        victim = data.draw(st.one_of(st.none(), st.sampled_from(alive)))
        if victim is not None:
            core.abort(victim)
            alive.remove(victim)
        if batch is not None:
            for token in core.complete(batch):
                assert token.request_id in alive
                if token.finished:
                    alive.remove(token.request_id)
    assert (core.running, core.waiting, core.used_blocks) == (0, 0, 0)
