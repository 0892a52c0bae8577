"""The router and its engines as processes, and the files that the router follows."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from fairlead_router.config import Auth, RouterConfig, ServiceClass, StaticEndpoint, Timeouts
from fairlead_router.identity.keys import hash_of
from soak.load import CLASSES
from soak.processes import command_line, descendants, kill, open_files, ports_of_clients, resident_bytes, stop

KEY = "fl-key-of-the-soak"
READY_SECONDS = 30.0
STOP_SECONDS = 40.0
_ROLE = re.compile(r"fairlead_router\.workers\.(\w+)")
"""What a child of the router is, in its command line."""
_BAD_WORDS = re.compile(
    r"Traceback|Warning|Task was destroyed|never awaited|never retrieved|Exception ignored|unclosed|fault while"
)
"""In the router's log: something was left open, or failed in a way that nobody had thought of."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


class Engine:
    """An engine at one address; processes come and go there."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.port = free_port()
        self.draining = False
        self._notes = directory / f"{name}.finished"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start a process."""
        command = [sys.executable, "-m", "soak.engine", "--port", str(self.port), "--notes", str(self._notes)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = await asyncio.create_subprocess_exec(*command, env=environment)

    async def kill(self) -> None:
        """End the process as a crash does."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def finished(self) -> set[str]:
        """Return the ids of all answers that were sent to the end here."""
        return set(self._notes.read_text().split()) if self._notes.exists() else set()


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """A worker that was killed: when, and on which ports its clients were."""

    at: float
    ports: frozenset[int]


class Metrics:
    """One scrape of the router."""

    def __init__(self, text: str) -> None:
        self._samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def total(self, name: str) -> float:
        """Return the sum of all series of a name."""
        return sum(sample.value for sample in self._samples if sample.name == name)

    def buckets(self, name: str) -> dict[float, float]:
        """Return the cumulative counts of a histogram by their upper edges, over all its series."""
        counts: dict[float, float] = {}
        for sample in self._samples:
            if sample.name == f"{name}_bucket":
                edge = float(sample.labels["le"])
                counts[edge] = counts.get(edge, 0.0) + sample.value
        return counts


class Pool:
    """A router in front of engines; what it follows is in files of a directory."""

    def __init__(self, directory: Path, *, engines: int, workers: int) -> None:
        self.engines = [Engine(f"engine-{number}", directory) for number in range(engines)]
        self.port, self.admin_port = free_port(), free_port()
        self._workers = workers
        self._config_file = directory / "router.yaml"
        self._keys_file = directory / "keys.yaml"
        self._log_file = directory / "router.log"
        self._ttft, self._inter_token = "2s", "60s"
        self._other_keys = 0
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Start engines and router, and wait until all are ready."""
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{self.admin_port}")
        self.write_keys()
        self.write_config()
        for engine in self.engines:
            await engine.start()
        await self._start_router()
        for engine in self.engines:
            await self.until_state(engine, "ready")

    async def _start_router(self) -> None:
        command = [str(Path(sys.executable).parent / "fairlead-router"), "--config", str(self._config_file)]
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        workers = ["--workers", str(self._workers)] if self._workers > 1 else []
        with self._log_file.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, *ports, *workers, "--host", "127.0.0.1", "--shutdown-timeout", "30",
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"},
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            if not await self._process.stdout.readline():
                raise RuntimeError(f"the router did not start:\n{self.log()}")

    async def close(self) -> None:
        """Kill whatever still runs."""
        if self._process is not None and self._process.returncode is None:
            left = [self._process.pid, *descendants(self._process.pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            await self._process.wait()
        for engine in self.engines:
            await engine.kill()
        if self._session is not None:
            await self._session.close()

    # What the router follows.

    def write_config(self, *, ttft: str | None = None, inter_token: str | None = None) -> None:
        """Write the configuration; what is not given stays, draining engines are as they say."""
        self._ttft, self._inter_token = ttft or self._ttft, inter_token or self._inter_token
        interactive, batch = CLASSES
        config = RouterConfig(
            pool="soak",
            classes=(
                ServiceClass(name=interactive, ttft=self._ttft, tbt="200ms", default=True),
                ServiceClass(name=batch),
            ),
            timeouts=Timeouts(inter_token=self._inter_token),
            auth=Auth(keys_file=str(self._keys_file)),
            endpoints=tuple(
                StaticEndpoint(uid=e.name, address=f"127.0.0.1:{e.port}", draining=e.draining) for e in self.engines
            ),
        )
        _replace(self._config_file, config.to_yaml())

    def write_keys(self) -> None:
        """Write the file of keys: always the same one, and others that change."""
        self._other_keys += 1
        keys = {"soak": KEY, f"other-{self._other_keys}": f"fl-other-{self._other_keys}"}
        lines = [f"- {{name: {name}, hash: '{hash_of(key.encode())}'}}" for name, key in keys.items()]
        _replace(self._keys_file, "\n".join(["keys:", *lines, ""]))

    # What the router says.

    async def metrics(self) -> Metrics:
        """Scrape the router."""
        assert self._session is not None
        async with self._session.get("/metrics") as answer:
            return Metrics(await answer.text())

    async def until_state(self, engine: Engine, state: str) -> None:
        """Wait until the router sees an engine in a state."""
        assert self._session is not None
        async with asyncio.timeout(READY_SECONDS):
            while True:
                async with self._session.get("/admin/v1/endpoints") as answer:
                    states = {each["name"]: each["state"] for each in await answer.json()}
                if states.get(engine.name) == state:
                    return
                await asyncio.sleep(0.05)

    def log(self) -> str:
        """Return the router's log so far."""
        return self._log_file.read_text(errors="replace")

    def bad_words(self) -> list[str]:
        """Return the lines of the log that speak of something left open or of a fault."""
        return [line for line in self.log().splitlines() if _BAD_WORDS.search(line)]

    # The router's processes.

    @property
    def pids(self) -> list[int]:
        """Of the router, itself first."""
        assert self._process is not None
        return [self._process.pid, *descendants(self._process.pid)]

    def pids_of(self, role: str) -> list[int]:
        """Return its processes of one kind, `worker` or `decider`; none where the router is one process."""
        return [pid for pid in self.pids if self._role(pid) == role]

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each process, by what it is and its id."""
        return {f"{self._role(pid)} {pid}": resident_bytes(pid) for pid in self.pids}

    def _role(self, pid: int) -> str:
        found = _ROLE.search(command_line(pid))
        return found[1] if found else "router"

    def open_files(self) -> int:
        """Return how many files and sockets all processes have open; connections to engines are kept for later."""
        return open_files(self.pids, except_to=[engine.port for engine in self.engines])

    async def kill_worker(self) -> WorkerDeath:
        """Kill the youngest worker and wait for another in its place; the oldest is left alone."""
        workers = self.pids_of("worker")
        victim = max(workers)
        stop(victim)  # a process that still runs could take a connection between two looks at the kernel's tables
        ports = ports_of_clients([victim], self.port)
        kill(victim)  # our clients, in this same loop, do nothing meanwhile
        death = WorkerDeath(asyncio.get_running_loop().time(), frozenset(ports))
        await self._until_replaced("worker", workers, victim)
        return death

    async def kill_decider(self) -> None:
        """Kill the decider and wait for another in its place."""
        (victim,) = self.pids_of("decider")
        kill(victim)
        await self._until_replaced("decider", [victim], victim)

    async def _until_replaced(self, role: str, before: Sequence[int], dead: int) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while len(pids := self.pids_of(role)) < len(before) or dead in pids:  # noqa: ASYNC110 - of processes
                await asyncio.sleep(0.05)

    def terminate(self) -> None:
        """Ask the router to end."""
        assert self._process is not None
        self._process.terminate()

    async def exit_status(self) -> int:
        """Wait for the router's end."""
        assert self._process is not None
        async with asyncio.timeout(STOP_SECONDS):
            return await self._process.wait()


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
