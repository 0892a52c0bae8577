"""One engine of the fleet: its core, and the batch that is running."""

from fairlead_engine.batch_time import BatchTime
from fairlead_engine.blocks import BLOCK_TOKENS
from fairlead_engine.types import Batch, Request, Token
from fairlead_router.decisions.pace import EngineLimits
from fairlead_simulator.fleet.peers import EngineStats
from fairlead_simulator.fleet.scenario import PodSpec

NO_BUDGET = 1 << 20
"""Tokens in a batch of an engine that has no budget."""


class Pod:
    """Runs batch after batch as long as there is work; the fleet's clock tells it when one has ended."""

    def __init__(self, uid: str, spec: PodSpec) -> None:
        self.uid = uid
        self.up = True
        self.busy_seconds = 0.0
        self._spec = spec
        self._slowness = spec.slowness
        self._batch_time: BatchTime = spec.setup.batch_time
        self._core = spec.setup.core()
        self._batch: Batch | None = None
        self._epoch = 0
        limits = spec.setup.limits
        self.limits = EngineLimits(
            limits.max_num_seqs, limits.max_num_batched_tokens or NO_BUDGET, limits.num_gpu_blocks * BLOCK_TOKENS
        )
        """As its router knows them."""

    @property
    def epoch(self) -> int:
        """Counts failures: a batch that began before one never ends."""
        return self._epoch

    @property
    def waiting(self) -> int:
        """Requests that the engine has not admitted."""
        return self._core.waiting

    @property
    def stats(self) -> EngineStats:
        """What the engine's metrics say."""
        return EngineStats(self._core.waiting, self._core.used_blocks / self._core.limits.num_gpu_blocks)

    def add(self, request: Request, now: float) -> None:
        """Take a request."""
        self._core.add(request, now)

    def abort(self, request_id: str) -> None:
        """Forget a request; a batch that is running with it goes on to its end."""
        self._core.abort(request_id)

    def begin(self, now: float) -> float | None:
        """Begin the next batch if none is running; returns when it will end."""
        if self._batch is not None or not self.up:
            return None
        self._batch = self._core.next_batch(now)
        if self._batch is None:
            return None
        seconds = self._batch_time.seconds(self._batch) * self._slowness
        self.busy_seconds += seconds
        return now + seconds

    def end(self, now: float) -> list[Token]:
        """End the batch that is running; returns its tokens."""
        batch, self._batch = self._batch, None
        if batch is None:
            raise AssertionError("no batch is running")
        return self._core.complete(batch, now)

    def fail(self) -> None:
        """Lose everything."""
        self.up = False
        self._epoch += 1
        self._batch = None

    def restart(self) -> None:
        """Come back empty."""
        self.up = True
        self._core = self._spec.setup.core()
