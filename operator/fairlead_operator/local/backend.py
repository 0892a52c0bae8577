"""The pool as processes: observe, plan and apply as in the cluster, where apply starts and ends processes."""

import asyncio
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp

from fairlead_engine.contract import HEALTH_PATH
from fairlead_operator.api.pool import InvalidPoolError, Pool
from fairlead_operator.local.child import Child, stop_all
from fairlead_operator.local.manifest import read_pool
from fairlead_operator.plan.commands import engine_command, router_command
from fairlead_operator.plan.drain import drained, drains, in_flight
from fairlead_operator.plan.engine_pod import revision
from fairlead_operator.plan.engines import plan_engines
from fairlead_operator.plan.pool import wanted
from fairlead_operator.plan.routers import ENDPOINTS_PATH, report_of
from fairlead_operator.types import Engine, Images, RouterReport
from fairlead_operator.work_queue import backoff_seconds
from fairlead_router.config import StaticEndpoint

HOST = "127.0.0.1"
TICK_SECONDS = 0.25
PROBE_SECONDS = 2.0
STOP_SECONDS = 5.0
"""What running requests get when the pool is stopped by hand."""

SHUTDOWN_SECONDS = 30
"""What requests that run in an engine get to finish after its SIGTERM: they have had their `drain.timeout` by then."""

IMAGES = Images(engine="local", router="local")
"""Processes have no images; the revision wants some."""


@dataclass(slots=True)
class LocalPool:
    """A pool on this machine, and everything that is known of it."""

    path: Path
    pool: Pool
    port: int
    admin_port: int
    folder: Path
    engines: list[Child] = field(default_factory=list)
    router: Child | None = None
    routers: tuple[RouterReport, ...] = ()
    """What the router last said, while it runs."""
    trouble: str = ""
    news: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    _file_time: int = 0
    _failures: int = 0
    _hold_until_seconds: float = 0.0
    _random: Random = field(default_factory=Random)

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return f"http://{HOST}:{self.port}"

    @property
    def children(self) -> list[Child]:
        """Every process of the pool, the router first."""
        return [*([self.router] if self.router else []), *self.engines]

    @property
    def in_flight(self) -> dict[str, int]:
        """Requests that run on each engine, by uid, as far as the router says."""
        return in_flight(self.routers)

    @property
    def ready(self) -> bool:
        """Tell whether the router and all declared engines of the current revision are ready."""
        current = revision(self.pool, IMAGES)
        serving = [child for child in self.engines if child.ready and not child.leaving and child.revision == current]
        return bool(self.router and self.router.ready) and len(serving) == self.pool.spec.replicas == len(self.engines)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Keep the pool as its manifest says until cancelled, then end every process.

        Raises
        ------
        ProgramMissingError
            An engine's or the router's program is not installed.

        """
        try:
            while True:
                self._reread()
                await self._probe(session)
                await self._step()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await stop_all(self.children, STOP_SECONDS)

    def kill(self) -> None:
        """End every process now; `run` notices."""
        for child in self.children:
            child.kill()

    def _reread(self) -> None:
        """Take over a manifest that was edited; a broken one changes nothing but `trouble`."""
        try:
            changed = self.path.stat().st_mtime_ns
        except OSError as error:
            self.trouble = f"{self.path}: {error.strerror}"
            return
        if changed == self._file_time:
            return
        first, self._file_time = not self._file_time, changed
        try:
            pool = read_pool(self.path)
        except InvalidPoolError as error:
            self.trouble = str(error)
            self.news.append(f"manifest not taken over: {error}")
            return
        self.trouble = ""
        if pool != self.pool and not first:
            self.news.append(f"manifest changed, taking it over: {self.path}")
            if pool.spec.router.workers != self.pool.spec.router.workers:
                self.news.append("spec.router.workers takes effect when fairlead up is started again")
        self.pool = pool

    async def _probe(self, session: aiohttp.ClientSession) -> None:
        async def probe(child: Child, port: int, path: str) -> None:
            ready = child.alive and not child.leaving and await _answers(session, port, path)
            if ready != child.ready and not child.leaving:
                self.news.append(f"{child.name} is {'ready' if ready else 'not ready'}")
            child.ready = ready

        async with asyncio.TaskGroup() as probes:
            for child in self.engines:
                probes.create_task(probe(child, child.port, HEALTH_PATH))
            if self.router:
                probes.create_task(probe(self.router, self.admin_port, "/ready"))
        self.routers = (await self._ask_router(session),) if self.router and self.router.alive else ()

    async def _ask_router(self, session: aiohttp.ClientSession) -> RouterReport:
        """Ask the router what runs where."""
        try:
            async with session.get(f"http://{HOST}:{self.admin_port}{ENDPOINTS_PATH}") as response:
                return report_of("router", await response.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return RouterReport("router", trouble=str(error) or type(error).__name__)

    async def _step(self) -> None:
        current = revision(self.pool, IMAGES)
        ended = [child for child in self.engines if not child.alive]
        self._note_ends(ended)
        engines = [_engine(child) for child in self.engines]
        plan = plan_engines(self.pool.name, wanted(self.pool.spec, current), engines, self.in_flight)
        leaving = {removal.engine.uid: removal.why for removal in plan.drain}
        for child in self.engines:
            if child.uid in leaving:
                self.news.append(f"draining {child.name}: {leaving[child.uid]}")
                child.draining_since_seconds = time.time()
        self._stop_drained()
        self.engines = [child for child in self.engines if child.alive]
        if time.monotonic() >= self._hold_until_seconds:
            for name in plan.create:
                self.engines.append(await self._start_engine(name, current))
        self._write_config()
        await self._keep_router()

    def _stop_drained(self) -> None:
        """End the engines on which nothing runs any more, and those whose time is over."""
        engines, now_seconds = [_engine(child) for child in self.engines], time.time()
        going_on = drains(engines, self.routers, self.pool.spec.drain.timeout_seconds, now_seconds)
        why = {removal.engine.uid: removal.why for removal in drained(going_on, now_seconds)}
        for child in self.engines:
            if child.uid in why:
                self.news.append(f"stopping {child.name}: {why[child.uid]}")
                child.terminate()

    def _note_ends(self, ended: list[Child]) -> None:
        for child in ended:
            if child.leaving:
                self.news.append(f"{child.name} stopped")
                continue
            self._failures += 1
            wait_seconds = backoff_seconds(self._failures, self._random)
            self._hold_until_seconds = time.monotonic() + wait_seconds
            code = child.process.returncode
            self.news.append(f"{child.name} ended with code {code}, its last line: {child.last_line or 'none'}")
            self.news.append(f"starting another in {wait_seconds:.1f} s; log: {child.log}")
        if self.ready:
            self._failures = 0

    async def _start_engine(self, name: str, current: str) -> Child:
        port = free_port()
        command = engine_command(self.pool.spec, host=HOST, port=port, shutdown_seconds=SHUTDOWN_SECONDS)
        child = await Child.start(name, command, log=self.folder / f"{name}.log", port=port, revision=current)
        self.news.append(f"started {name} on port {port}")
        return child

    async def _keep_router(self) -> None:
        if self.router and self.router.alive:
            return
        if self.router:
            code = self.router.process.returncode
            self.news.append(f"the router ended with code {code}, its last line: {self.router.last_line or 'none'}")
        arguments = ["--config", str(self._config_path), "--host", HOST, "--port", str(self.port)]
        arguments += ["--admin-port", str(self.admin_port), "--shutdown-timeout", str(STOP_SECONDS)]
        log = self.folder / "router.log"
        self.router = await Child.start("router", router_command(self.pool.spec, arguments), log=log, port=self.port)
        self.news.append(f"started the router on port {self.port}")

    @property
    def _config_path(self) -> Path:
        return self.folder / "router.yaml"

    def _write_config(self) -> None:
        """Tell the router its configuration and engines; written only when it changes, and in one piece."""
        endpoints = tuple(
            StaticEndpoint(uid=child.uid, address=f"{HOST}:{child.port}", draining=child.leaving)
            for child in self.engines
        )
        config = self.pool.spec.router_config(self.pool.name)
        text = config.model_copy(update={"endpoints": endpoints}).to_yaml()
        if not self._config_path.exists() or self._config_path.read_text() != text:
            draft = self._config_path.with_suffix(".new")
            draft.write_text(text)
            draft.replace(self._config_path)


def _engine(child: Child) -> Engine:
    return Engine(
        name=child.name,
        uid=child.uid,
        revision=child.revision,
        created_seconds=child.started_seconds,
        ready=child.ready,
        draining_since_seconds=child.draining_since_seconds,
        terminating=child.stopping,
        ended=not child.alive,
    )


async def _answers(session: aiohttp.ClientSession, port: int, path: str) -> bool:
    try:
        async with session.get(f"http://{HOST}:{port}{path}", timeout=aiohttp.ClientTimeout(PROBE_SECONDS)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Tell whether the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
