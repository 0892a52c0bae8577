"""An engine core under a virtual clock: the smallest driver, for tests of schedulers."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead_engine.batch_time import BatchTime, Linear
from fairlead_engine.batching import Core
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.types import Batch, Request

UNLIMITED = 10**9
ONE_SECOND = Linear(base_seconds=1.0, token_seconds=0.0)


def paper_limits(b_max: int, k_max: int | None = None) -> Limits:
    """Return the model of arXiv 2504.07347: a token budget, perhaps a batch-size limit, and memory without end."""
    return Limits(
        max_num_batched_tokens=b_max, max_num_seqs=UNLIMITED, num_gpu_blocks=UNLIMITED, max_requests_per_batch=k_max
    )


@dataclass
class VirtualEngine:
    """Runs a core batch by batch; every batch takes what the model says."""

    core: Core
    batch_time: BatchTime = ONE_SECOND
    now: float = 0.0
    finished: int = 0
    batches: list[Batch] = field(default_factory=list)

    @classmethod
    def of_paper(cls, scheduler: Scheduler, limits: Limits, batch_time: BatchTime = ONE_SECOND) -> "VirtualEngine":
        """Build an engine whose prompt-completing batches yield no token, as the papers' do."""
        return cls(Core(limits, scheduler, first_token_with_prefill=False), batch_time)

    @property
    def in_system(self) -> int:
        return self.core.waiting + self.core.running

    def step(self) -> Batch | None:
        """Run one batch, or nothing where there is none."""
        batch = self.core.next_batch(self.now)
        if batch is not None:
            self.now += self.batch_time.seconds(batch)
            self.finished += sum(token.finished for token in self.core.complete(batch, self.now))
        return batch

    def run(self, arrivals: Iterable[tuple[float, Request]], until: float, *, keep: bool = False) -> None:
        """Run arrivals, given in the order of time, until `until`; `keep` the batches."""
        queue = iter(arrivals)
        arrival = next(queue, None)
        while self.now < until:
            while arrival is not None and arrival[0] <= self.now:
                self.core.add(arrival[1], arrival[0])
                arrival = next(queue, None)
            batch = self.step()
            if batch is None:
                self.now = until if arrival is None else arrival[0]
            elif keep:
                self.batches.append(batch)


def fixed_requests(prompt: int, output: int, gap_seconds: float) -> Iterable[tuple[float, Request]]:
    """Yield requests of one size, one every `gap_seconds`, without end."""
    number = 0
    while True:
        yield number * gap_seconds, Request(f"r{number}", prompt, output)
        number += 1
