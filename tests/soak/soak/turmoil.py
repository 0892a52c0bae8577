"""What breaks while requests run, one thing after another, and what of it explains a request's bad end."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import cycle
from random import Random

from soak.pool import Engine, Pool, WorkerDeath


@dataclass(slots=True)
class Damage:
    """What was done so far; times are of the event loop's clock."""

    engine_deaths: list[tuple[str, float]] = field(default_factory=list)
    """Which engine was killed, and when."""
    worker_deaths: list[WorkerDeath] = field(default_factory=list)
    decider_deaths: int = 0
    drains: int = 0
    reloads: int = 0


class Turmoil:
    """Breaks things; waits in between, and until each is whole again."""

    def __init__(self, pool: Pool, random: Random, *, pause_seconds: float) -> None:
        self.damage = Damage()
        self._pool = pool
        self._random = random
        self._pause_seconds = pause_seconds

    async def run(self, until: float) -> None:
        """Break one thing after another up to a time of the event loop's clock, and each at least once."""
        steps: list[Callable[[], Awaitable[None]]] = [
            self._kill_engine,
            self._reload_classes,
            self._drain_engine,
            self._reload_keys,
            self._kill_engine,
            self._reload_timeouts,
        ]
        if self._pool.pids_of("worker"):
            steps += [self._kill_worker, self._reload_classes, self._kill_decider]
        loop = asyncio.get_running_loop()
        for number, step in enumerate(cycle(steps)):
            await asyncio.sleep(self._pause_seconds)
            if loop.time() >= until and number >= len(steps):
                return
            await step()

    async def _kill_engine(self) -> None:
        engine = self._any_engine()
        self.damage.engine_deaths.append((engine.name, asyncio.get_running_loop().time()))
        await engine.kill()
        await asyncio.sleep(self._random.random() * self._pause_seconds / 2)
        await engine.start()
        await self._pool.until_state(engine, "ready")

    async def _drain_engine(self) -> None:
        engine = self._any_engine()
        engine.draining = True
        self._pool.write_config()
        await self._pool.until_state(engine, "draining")
        await asyncio.sleep(self._pause_seconds / 2)
        engine.draining = False
        self._pool.write_config()
        await self._pool.until_state(engine, "ready")
        self.damage.drains += 1

    async def _reload_classes(self) -> None:
        self._reloaded(ttft=f"{self._random.randint(100, 900)}ms")

    async def _reload_timeouts(self) -> None:
        self._reloaded(inter_token=f"{self._random.randint(30, 90)}s")

    def _reloaded(self, **changed: str) -> None:
        self._pool.write_config(**changed)
        self.damage.reloads += 1

    async def _reload_keys(self) -> None:
        self._pool.write_keys()
        self.damage.reloads += 1

    async def _kill_worker(self) -> None:
        self.damage.worker_deaths.append(await self._pool.kill_worker())

    async def _kill_decider(self) -> None:
        """Kill what decides for the workers: no request may suffer from it."""
        self.damage.decider_deaths += 1
        await self._pool.kill_decider()

    def _any_engine(self) -> Engine:
        return self._random.choice(self._pool.engines)
