"""One soak from start to end: the load, what breaks meanwhile, the last streams at SIGTERM, and what came of it all.

| module | what |
|---|---|
| `answers` | the one right answer to every request, and what has come of it |
| `engine` | an engine that gives these answers, and notes which of them it has sent to the end |
| `client`, `load` | connections; requests at a rate, each with its record |
| `processes`, `pool` | processes and what /proc knows of them; engines, the router, its files |
| `turmoil` | what breaks, and when |
| `verdict` | what must hold of all records together |
"""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from soak.client import Client, Record
from soak.load import ONE_SECOND, Load, Mix, held_rate, settled
from soak.pool import KEY, Metrics, Pool
from soak.processes import exists
from soak.turmoil import Turmoil
from soak.verdict import Finding, Memory, counts, findings_of, growth, memory_of, quantile

SHARE_OF_HELD_RATE = 0.7
LAST_STREAMS = 20
QUIET_SECONDS = 30.0
_SAMPLE_SECONDS = 1.0
_LAG = "fairlead_router_loop_lag_seconds"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to soak."""

    seconds: float
    engines: int = 4
    workers: int = 2
    rate: float | None = None
    """Requests per second; None measures the rate that is held, and takes 70 % of it."""
    pause_seconds: float = 5.0
    """Between one thing that breaks and the next."""
    compares_memory: bool = True
    """Only worth it where the soak lasts longer than a process takes to grow to its size."""
    seed: int = 0


@dataclass(slots=True)
class Report:
    """What was seen; `findings` is what must not be."""

    seconds: float
    held_chunks_per_second: float | None
    """None where the rate was given."""
    requests_per_second: float
    chunks_per_second: float
    engines_killed: int = 0
    engines_drained: int = 0
    workers_killed: int = 0
    deciders_killed: int = 0
    files_changed: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    """By their end."""
    memory: list[Memory] = field(default_factory=list)
    """Of the processes that lived through the whole load."""
    loop_lag_p99_seconds: float = 0.0
    """Of all workers together; the upper edge of the bucket that it is in."""
    exit_status: int | None = None
    exit_seconds: float = 0.0
    """From SIGTERM, with streams of a second that run."""
    findings: list[Finding] = field(default_factory=list)


async def soak(plan: Plan, directory: Path, tell: Tell) -> Report:
    """Soak a router; its files, and the engines' notes, are in `directory`."""
    pool = Pool(directory, engines=plan.engines, workers=plan.workers)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # and so its processes end with it
    try:
        await pool.start()
        return await _Soak(plan, pool, tell).run()
    finally:
        await pool.close()


class _Soak:
    """One soak of a router that has been started."""

    def __init__(self, plan: Plan, pool: Pool, tell: Tell) -> None:
        self._plan = plan
        self._pool = pool
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        random = Random(plan.seed)
        self._turmoil = Turmoil(pool, random, pause_seconds=plan.pause_seconds)
        self._client = Client(pool.port, KEY)
        self._load = Load(self._client, random)
        self._memory: list[Mapping[str, int]] = []

    async def run(self) -> Report:
        """Do it all, and report."""
        idle_files = self._pool.open_files()
        report = await self._choose_rate()
        lag_before = (await self._pool.metrics()).buckets(_LAG)
        async with self._load.sending(report.requests_per_second, Mix()), asyncio.TaskGroup() as tasks:
            until = self._loop.time() + self._plan.seconds
            tasks.create_task(self._turmoil.run(until))
            tasks.create_task(self._watch(until))
        await settled(self._load)
        report.loop_lag_p99_seconds = quantile((await self._pool.metrics()).buckets(_LAG), lag_before, 0.99)
        self._client.close()
        report.findings += await self._open_when_quiet(idle_files)
        report.findings += await self._stop(report)
        report.findings += self._judge(report)
        return report

    async def _choose_rate(self) -> Report:
        held, rate, mean = None, self._plan.rate, Mix().mean_tokens
        if rate is None:
            held = await held_rate(self._load, self._tell)
            rate = SHARE_OF_HELD_RATE * held / mean
        self._tell(f"{rate:.0f} requests/s, {rate * mean:.0f} chunks/s, for {self._plan.seconds:.0f} s")
        return Report(self._plan.seconds, held and round(held), round(rate, 1), round(rate * mean))

    async def _watch(self, until: float) -> None:
        """Sample the memory, and tell how it goes about fifty times."""
        every = max(5.0, self._plan.seconds / 50)
        begun = told = self._loop.time()
        while (now := self._loop.time()) < until:
            self._memory.append(self._pool.memory())
            if now - told >= every:
                told = now
                self._tell_state(now - begun)
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _tell_state(self, seconds: float) -> None:
        memory, damage = self._memory[-1], self._turmoil.damage
        self._tell(
            f"{seconds:4.0f}/{self._plan.seconds:.0f} s: {len(self._load.records)} requests, "
            f"{self._client.running} run; killed {len(damage.engine_deaths)} engines, "
            f"{len(damage.worker_deaths)} workers, {damage.decider_deaths} deciders; {damage.drains} drains, {damage.reloads} reloads; "
            f"memory {', '.join(f'{value / 1e6:.0f}' for value in memory.values())} MB"
        )

    # The end.

    async def _open_when_quiet(self, idle_files: int) -> list[Finding]:
        """Say what stays open, and is counted as running, though nobody is there any more."""
        deadline = self._loop.time() + QUIET_SECONDS
        while True:
            left = _left_open(await self._pool.metrics())
            if (files := self._pool.open_files()) > idle_files:
                left["open files"] = files - idle_files
            if not left or self._loop.time() > deadline:
                return [Finding("nothing stays open", f"{number:g} {what}") for what, number in left.items()]
            await asyncio.sleep(0.1)

    async def _stop(self, report: Report) -> list[Finding]:
        """End the router while streams run; they are judged with all the others."""
        client = Client(self._pool.port, KEY)
        last = Load(client, Random(self._plan.seed))
        last.records = self._load.records
        begun = [await last.send(ONE_SECOND) for _ in range(LAST_STREAMS)]
        await _all_began(begun)
        findings: list[Finding] = []
        children = self._pool.pids
        terminated = time.monotonic()
        self._pool.terminate()
        await settled(last)
        report.exit_status = await self._pool.exit_status()
        report.exit_seconds = time.monotonic() - terminated
        if report.exit_status:
            findings.append(Finding("the router ends by itself", f"exit status {report.exit_status}"))
        findings += [Finding("no process is left", f"{pid}") for pid in children if exists(pid)]
        findings += [
            Finding("streams finish at SIGTERM", f"{record.request_id}: {record.outcome} {record.code}")
            for record in begun
            if record.outcome != "whole"
        ]
        return findings

    def _judge(self, report: Report) -> list[Finding]:
        records, damage = self._load.records, self._turmoil.damage
        report.engines_killed, report.engines_drained = len(damage.engine_deaths), damage.drains
        report.workers_killed, report.deciders_killed = len(damage.worker_deaths), damage.decider_deaths
        report.files_changed = damage.reloads
        report.requests = counts(records)
        report.memory = memory_of(self._memory)
        finished = set().union(*(engine.finished() for engine in self._pool.engines))
        findings = findings_of(records, finished, damage)
        if self._plan.compares_memory:
            findings += growth(report.memory)
        return findings + [Finding("the log is clean", line) for line in self._pool.bad_words()]


def _left_open(metrics: Metrics) -> dict[str, float]:
    names = {
        "fairlead_router_client_connections": "connections of clients",
        "fairlead_router_in_flight": "requests in flight",
        "fairlead_router_buffered_bytes": "buffered bytes",
    }
    return {what: total for name, what in names.items() if (total := metrics.total(name))}


async def _all_began(records: list[Record]) -> None:
    async with asyncio.timeout(10):
        while not all(record.began for record in records):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.01)
