"""Measures a run while it goes, in memory that grows by a few numbers per request and not at all per token.

Definitions are those of the evaluation of arXiv 2508.01002 and its engine, with one exception: that engine counts a gap
of 0 for the first token of each request, and here only what lies between two tokens is a gap.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, fsum

from fairlead_engine.types import Batch, Token
from fairlead_simulator.histogram import Durations, quantile
from fairlead_simulator.results import Batches, Figures, InSystem, KvUsed, Summary, TbtSummary, Timeline
from fairlead_simulator.workload import Call, User

CURVE_POINTS = 201
TIMELINE_SAMPLES = 4000


class Level:
    """A number that changes in steps, its time integral and its highest value."""

    __slots__ = ("_since", "integral", "max", "value")

    def __init__(self) -> None:
        self.value = 0
        self.max = 0
        self.integral = 0.0
        self._since = 0.0

    def change(self, now: float, value: int) -> None:
        """Take a new value from `now` on."""
        self.integral += self.value * (now - self._since)
        self._since = now
        self.value = value
        self.max = max(self.max, value)


@dataclass(slots=True)
class _UnderWay:
    """A request that has not ended."""

    call: Call
    gaps: Durations
    prompt_done: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0


class _Samples:
    """Samples of the run over time; when there are too many, every other one goes and the next come half as often."""

    def __init__(self) -> None:
        self._interval = 0.05
        self._next = 0.0
        self._rows: list[tuple[float, int, int, float, int]] = []

    def take(self, seconds: float, in_system: int, running: int, kv_used: float, batch_tokens: int) -> None:
        if seconds < self._next:
            return
        self._rows.append((seconds, in_system, running, kv_used, batch_tokens))
        self._next = seconds + self._interval
        if len(self._rows) > TIMELINE_SAMPLES:
            del self._rows[1::2]
            self._interval *= 2

    def timeline(self) -> Timeline:
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * 5
        return Timeline(*columns)


class Meter:
    """Follows the requests of one run."""

    def __init__(self, users: Sequence[User], requests: int, total_blocks: int) -> None:
        self._users = users
        self._total_blocks = total_blocks
        self._under_way: dict[str, _UnderWay] = {}
        self._gaps = [Durations(user.tbt_limit_seconds) for user in users]
        self._ttft = [array("d") for _ in users]
        self._first_token = array("d")
        self._tokens = self._output_tokens = 0
        self._requests = requests
        self._arrived = 0
        self._quarter_ends = {ceil(requests * share / 4) for share in (1, 2, 3, 4)}
        self._quarter_marks = [(0.0, 0.0)]
        self._in_system = Level()
        self._in_system_at_end = 0
        self._kv = Level()
        self._preemptions = 0
        self._batches = self._batch_tokens = 0
        self._busy_seconds = 0.0
        self._samples = _Samples()

    @property
    def in_system(self) -> int:
        """Requests that have arrived and not ended."""
        return self._in_system.value

    def arrive(self, request_id: str, call: Call) -> None:
        """Note an arrival."""
        self._under_way[request_id] = _UnderWay(call, self._gaps[call.user])
        self._in_system.change(call.seconds, self._in_system.value + 1)
        self._arrived += 1
        if self._arrived in self._quarter_ends:
            self._quarter_marks.append((call.seconds, self._in_system.integral))
        self._in_system_at_end = self._in_system.value

    def batch(
        self, batch: Batch, start: float, end: float, tokens: Iterable[Token], *, running: int, blocks: int
    ) -> None:
        """Note a batch, its tokens, and the requests and blocks that were running and held during it."""
        batch_tokens = batch.tokens
        self._samples.take(start, self._in_system.value, running, blocks / self._total_blocks, batch_tokens)
        self._kv.change(start, blocks)
        self._batches += 1
        self._batch_tokens += batch_tokens
        self._busy_seconds += end - start
        self._preemptions += len(batch.preempted)
        for chunk in batch.prefills:
            if chunk.completes_prompt:
                self._under_way[chunk.request_id].prompt_done = end
        self._take_tokens(tokens, end)

    def figures(self, now: float, *, cached_tokens: int) -> Figures:
        """Sum up at the end of the run."""
        self._in_system.change(now, self._in_system.value)
        self._kv.change(now, self._kv.value)
        ttft = sorted(seconds for user in self._ttft for seconds in user)
        return Figures(
            completed=len(ttft),
            sim_seconds=now,
            tokens_per_second=ratio(self._tokens, now) or 0.0,
            output_tokens_per_second=ratio(self._output_tokens, now) or 0.0,
            ttft=_summary(ttft),
            first_token=_summary(sorted(self._first_token)),
            ttft_by_user={user.name: _summary(sorted(a)) for user, a in zip(self._users, self._ttft, strict=True)},
            tbt={user.name: _tbt(gaps) for user, gaps in zip(self._users, self._gaps, strict=True)},
            preemptions=self._preemptions,
            cached_tokens=cached_tokens,
            kv_used=KvUsed(self._share(ratio(self._kv.integral, now) or 0.0), self._share(self._kv.max)),
            in_system=self._in_system_figures(now),
            batches=Batches(
                self._batches,
                ratio(self._busy_seconds, self._batches),
                ratio(self._batch_tokens, self._batches),
            ),
            ttft_curve=tuple(quantile(ttft, index / (CURVE_POINTS - 1)) for index in range(CURVE_POINTS) if ttft),
            timeline=self._samples.timeline(),
        )

    def idle(self, now: float) -> None:
        """Note that no batch runs from `now` on."""
        self._kv.change(now, 0)

    def _in_system_figures(self, now: float) -> InSystem:
        marks = self._quarter_marks
        quarters = tuple(
            (after[1] - before[1]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
            for before, after in pairwise(marks)
        )
        mean = ratio(self._in_system.integral, now) or 0.0
        end = self._in_system_at_end if self._arrived == self._requests else self._in_system.value
        return InSystem(mean, self._in_system.max, end, quarters)

    def _share(self, blocks: float) -> float:
        return blocks / self._total_blocks

    def _take_tokens(self, tokens: Iterable[Token], now: float) -> None:
        """Note the tokens that came out at `now`. This loop runs once per output token.

        Most requests had their last token in the same batch: such equal gaps are counted, and added once.
        """
        under_way = self._under_way
        gaps, previous, times = self._gaps[0], -1.0, 0
        for token in tokens:
            request = under_way[token.request_id]
            last_token = request.last_token
            if last_token == previous and request.gaps is gaps:
                times += 1
            elif last_token:
                if times:
                    gaps.add(now - previous, times)
                gaps, previous, times = request.gaps, last_token, 1
            else:
                request.first_token = now
            request.last_token = now
            if token.finished:
                self._finish(token.request_id, now)
        if times:
            gaps.add(now - previous, times)

    def _finish(self, request_id: str, now: float) -> None:
        request = self._under_way.pop(request_id)
        call = request.call
        self._ttft[call.user].append(request.prompt_done - call.seconds)
        self._first_token.append(request.first_token - call.seconds)
        self._output_tokens += call.lengths.output_tokens
        self._tokens += call.lengths.prompt_tokens + call.lengths.output_tokens
        self._in_system.change(now, self._in_system.value - 1)


def ratio(total: float, count: float) -> float | None:
    """Return a mean or a share; None of nothing."""
    return total / count if count else None


def _summary(ordered: Sequence[float]) -> Summary:
    if not ordered:
        return Summary(None, None, None, None)
    mean = fsum(ordered) / len(ordered)
    return Summary(mean, *(quantile(ordered, share) for share in (0.5, 0.9, 0.99)))


def _tbt(gaps: Durations) -> TbtSummary:
    return TbtSummary(gaps.quantile(0.5), gaps.quantile(0.99), gaps.share_over)
