"""Runs the engine core under a virtual clock: the code that the mock engine runs in real time, at the speed of Python."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from fairlead_engine.batch_time import BatchTime
from fairlead_engine.batching import Core
from fairlead_engine.types import Request
from fairlead_simulator.metrics import Meter
from fairlead_simulator.results import Figures
from fairlead_simulator.setup import Setup
from fairlead_simulator.workload import Call, Workload


class StalledError(RuntimeError):
    """A scheduler gave no batch although requests wait, and nothing else can happen."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run: an engine, a workload, its nominal rate, and when to stop (in virtual seconds; None: when all have ended)."""

    setup: Setup
    workload: Workload
    qps: float
    until_seconds: float | None = None


def simulate(scenario: Scenario) -> Figures:
    """Run a scenario to its end; StalledError when its scheduler leaves requests waiting for ever."""
    setup = scenario.setup
    return drive(setup.core(), setup.batch_time, scenario.workload, scenario.qps, until_seconds=scenario.until_seconds)


def drive(
    core: Core, batch_time: BatchTime, workload: Workload, qps: float, *, until_seconds: float | None = None
) -> Figures:
    """Run a workload through a new engine core, of any scheduler; StalledError as `simulate`."""
    meter = Meter(workload.users, workload.requests, core.limits.num_gpu_blocks)
    arrivals = _Arrivals(core, meter, workload, qps)
    until = inf if until_seconds is None else until_seconds
    now = _run(core, batch_time, arrivals, meter, until)
    if meter.in_system and now < until:
        name = type(core.scheduler).__name__
        raise StalledError(f"{name} gives no batch at {now:.3f} s, although {meter.in_system} requests wait")
    return meter.figures(now, cached_tokens=core.prefix_cache.hit_tokens if core.prefix_cache else 0)


class _Arrivals:
    """The requests that are still to come."""

    def __init__(self, core: Core, meter: Meter, workload: Workload, qps: float) -> None:
        self._core = core
        self._meter = meter
        self._users = workload.users
        self._calls: Iterator[Call] = workload.calls(qps)
        self._number = 0
        self._next = next(self._calls, None)
        self.next_seconds = inf if self._next is None else self._next.seconds

    def add_until(self, seconds: float) -> None:
        """Give the engine what has arrived by then."""
        while self._next is not None and self._next.seconds <= seconds:
            self._add(self._next)
            self._next = next(self._calls, None)
        self.next_seconds = inf if self._next is None else self._next.seconds

    def _add(self, call: Call) -> None:
        user = self._users[call.user]
        request = Request(
            str(self._number),
            call.lengths.prompt_tokens,
            call.lengths.output_tokens,
            slo_class=user.name,
            tbt_limit_seconds=user.tbt_limit_seconds,
            priority=user.priority,
            block_hashes=call.lengths.block_hashes,
        )
        self._number += 1
        self._core.add(request, call.seconds)
        self._meter.arrive(request.request_id, call)


def _run(core: Core, batch_time: BatchTime, arrivals: _Arrivals, meter: Meter, until: float) -> float:
    """Run batch after batch; return the time at which the last one ended."""
    now = 0.0
    while now < until:
        batch = core.next_batch(now)
        if batch is None:
            if arrivals.next_seconds > until or arrivals.next_seconds == inf:
                return now if until == inf else until
            meter.idle(now)
            now = max(now, arrivals.next_seconds)
            arrivals.add_until(now)
            continue
        end = now + batch_time.seconds(batch)
        running, blocks = core.running, core.used_blocks
        if arrivals.next_seconds <= end:
            arrivals.add_until(min(end, until))
        meter.batch(batch, now, end, core.complete(batch, end), running=running, blocks=blocks)
        now = end
    return now
