"""Runs scenarios over processes, with a progress bar where somebody watches."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fairlead_simulator.capacity import Capacity, Rounds
from fairlead_simulator.results import RunResult
from fairlead_simulator.simulation import Scenario, simulate


def run(scenario: Scenario) -> RunResult:
    """Simulate one scenario, and measure how long that takes."""
    started = time.perf_counter()
    figures = simulate(scenario)
    return RunResult(
        scheduler=scenario.setup.label,
        profile=scenario.setup.profile,
        qps=scenario.qps,
        seed=scenario.workload.seed,
        requests=scenario.workload.requests,
        wall_seconds=time.perf_counter() - started,
        figures=figures,
    )


S = TypeVar("S")
R = TypeVar("R")
Submit = Callable[[S], Future[R]]
"""Starts a run."""


class Runner(Generic[S, R]):
    """Runs scenarios, several at a time, and counts them on a progress bar."""

    def __init__(self, submit: Submit[S, R], progress: Progress) -> None:
        self._start = submit
        self._progress = progress
        self._task = progress.add_task("runs", total=0)
        self._submitted = 0

    def run(self, scenarios: Sequence[S]) -> list[R]:
        """Run scenarios; results in the same order."""
        return [future.result() for future in self.submit(scenarios)]

    def submit(self, scenarios: Sequence[S]) -> list[Future[R]]:
        """Start runs."""
        self._submitted += len(scenarios)
        self._progress.update(self._task, total=self._submitted)
        futures = []
        for scenario in scenarios:
            future = self._start(scenario)
            future.add_done_callback(lambda _: self._progress.advance(self._task))
            futures.append(future)
        return futures


def search_all(
    runner: Runner[Scenario, RunResult], searches: Sequence[tuple[Rounds, Callable[[float], Scenario]]]
) -> list[Capacity]:
    """Carry out searches side by side, round by round; each comes with the scenario of a rate."""
    found: dict[int, Capacity] = {}
    asked = {index: next(rounds) for index, (rounds, _) in enumerate(searches)}
    while asked:
        submitted = {index: runner.submit([searches[index][1](qps) for qps in asked[index]]) for index in asked}
        for index, futures in submitted.items():
            try:
                asked[index] = searches[index][0].send([future.result() for future in futures])
            except StopIteration as end:
                found[index] = end.value
                del asked[index]
    return [found[index] for index in range(len(searches))]


@contextmanager
def runner(jobs: int, work: Callable[[S], R]) -> Iterator[Runner[S, R]]:
    """Give a runner of `jobs` processes; the progress bar is on standard error, and only in a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        _submit(jobs, work) as submit,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        yield Runner(submit, progress)


@contextmanager
def _submit(jobs: int, work: Callable[[S], R]) -> Iterator[Submit[S, R]]:
    if jobs == 1:
        yield partial(_run_at_once, work)
        return
    # Spawned: forking a process that has the progress bar's thread may deadlock. Ctrl-C ends workers without a word.
    spawn, quiet = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(jobs, spawn, signal.signal, quiet) as executor:
        yield lambda scenario: executor.submit(work, scenario)


def _run_at_once(work: Callable[[S], R], scenario: S) -> Future[R]:
    """Run in this process: for one run at a time, others would only cost their start."""
    future: Future[R] = Future()
    future.set_result(work(scenario))
    return future
