"""Play many cases at the same time, each in a world of its own, in one event loop as production has it."""

import asyncio
import contextlib
import gc
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import uvloop

from fairlead_router import deadlines, models
from fairlead_router.edge.protocol import EdgeProtocol
from fuzzing.cases import Case
from fuzzing.world import World

WORLDS: Final = 24
SWEEP_SECONDS: Final = 0.01
"""Of the router's deadlines, which are shorter here, too."""
ASK_SECONDS: Final = 0.3
"""What an engine gets to list its models."""


class Player:
    """Made by `player`."""

    def __init__(self, runner: asyncio.Runner, faults: list[str]) -> None:
        self._runner = runner
        self._faults = faults  # of all worlds: what was logged as an error, or raised where nobody sees it
        self._worlds: list[World] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def answers(self) -> Counter[str]:
        """All answers so far by their reason."""
        return sum((world.answers for world in self._worlds), Counter())

    def open(self) -> None:
        """Open the worlds."""
        self._runner.run(self._open())

    def close(self) -> None:
        """Close the worlds."""
        self._runner.run(self._close())

    def wrong_with(self, case: Case) -> str:
        """Play one case; returns what does not hold, or nothing."""
        ((_, what),) = self.play([case])
        return what

    def play(self, cases: Sequence[Case]) -> list[tuple[Case, str]]:
        """Play cases; returns each with what does not hold.

        A fault that is seen in the log cannot be told to belong to one of those that ran at that time, so all of them
        are played again one by one.
        """
        found = self._runner.run(self._play(cases))
        common = self._common()
        if len(cases) == 1:
            (case,) = cases
            return [(case, "\n".join([*found[0], *common]))]
        if not common:
            return [(case, "\n".join(what)) for case, what in zip(cases, found, strict=True)]
        alone = [(case, self.wrong_with(case)) for case in cases]
        return alone if any(what for _, what in alone) else [(cases[0], "\n".join(["not by one case alone", *common]))]

    async def _open(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: self._faults.append(repr(what)))
        self._worlds = [await World().__aenter__() for _ in range(WORLDS)]
        self._tasks = asyncio.all_tasks()

    async def _close(self) -> None:
        for world in self._worlds:
            await world.__aexit__(None, None, None)

    async def _play(self, cases: Sequence[Case]) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in cases]
        numbers = iter(range(len(cases)))

        async def play_on(world: World) -> None:
            for number in numbers:
                found[number] = await world.wrong_with(cases[number])

        await asyncio.gather(*map(play_on, self._worlds))
        left = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        self._faults.extend(f"a task is left: {task}" for task in left)
        return found

    def _common(self) -> list[str]:
        """What is wrong with all that was played since the last time, taken together."""
        gc.collect()
        kept = sum(isinstance(each, EdgeProtocol) for each in gc.get_objects())
        faults = [*self._faults, *([f"{kept} connections of clients are left in memory"] if kept else [])]
        self._faults.clear()
        return faults


@contextlib.contextmanager
def player() -> Iterator[Player]:
    """Give a player."""
    faults: list[str] = []
    with (
        mock.patch.object(deadlines, "SWEEP_SECONDS", SWEEP_SECONDS),
        mock.patch.object(models, "ASK_SECONDS", ASK_SECONDS),
        _noted(faults),
        Path(os.devnull).open("w") as nowhere,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        playing = Player(runner, faults)
        with contextlib.redirect_stdout(nowhere):  # for the access logs, which take it now
            playing.open()
        try:
            yield playing
        finally:
            playing.close()


@contextlib.contextmanager
def _noted(faults: list[str]) -> Iterator[None]:
    """Note what is logged as an error, by whatever logger, and log nothing else of the router."""

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            faults.append(f"logged: {logging.Formatter().format(record)}")

    noting, root, router = Noting(logging.ERROR), logging.getLogger(), logging.getLogger("fairlead_router")
    level = router.level
    root.addHandler(noting)
    router.setLevel(logging.ERROR)
    yield
    root.removeHandler(noting)
    router.setLevel(level)
