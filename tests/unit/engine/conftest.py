"""A mock engine in a thread of its own, on a free port of the loopback interface, and a client for it."""

import asyncio
import io
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import pytest
import uvloop

from fairlead_engine.contract import ADMIN_FAULTS_PATH, ADMIN_REQUESTS_PATH
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.server import Shutdown, listen, serve
from fairlead_engine.mock.settings import Settings

CHAT = "/v1/chat/completions"
DEADLINE_SECONDS = 10.0


@dataclass
class Chunk:
    """One server-sent event, and when it arrived."""

    data: dict[str, Any]
    arrived: float

    @property
    def text(self) -> str:
        choice = self.data["choices"][0]
        return choice["delta"]["content"] if "delta" in choice else choice["text"]


@dataclass
class Streamed:
    """A stream that was read to its end; `done` when it ended with [DONE]."""

    chunks: list[Chunk] = field(default_factory=list)
    done: bool = False

    @property
    def token_chunks(self) -> list[Chunk]:
        """Chunks that carry a token: neither the one that opens a chat nor the one with the usage."""
        return [c for c in self.chunks if c.data["choices"] and "role" not in c.data["choices"][0].get("delta", {})]

    @property
    def gaps(self) -> list[float]:
        arrived = [chunk.arrived for chunk in self.token_chunks]
        return [later - earlier for earlier, later in itertools.pairwise(arrived)]


class Mock:
    """A running mock engine, seen from outside."""

    def __init__(self, url: str, stop: Callable[[], None]) -> None:
        self.url = url
        self.stop = stop

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.url, timeout=timeout, connector=connector) as session:
            yield session

    async def post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Post JSON, or bytes as they are; return status and body."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session() as session, session.post(path, data=data) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.session() as session, session.get(path) as response:
            return response.status, await response.json()

    async def get_text(self, path: str) -> str:
        async with self.session() as session, session.get(path) as response:
            assert response.status == 200
            return await response.text()

    async def stream(self, path: str, **body: Any) -> Streamed:
        async with self.session() as session, session.post(path, json={"stream": True, **body}) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            return await read_stream(response)

    async def requests(self) -> dict[str, int]:
        return (await self.get(ADMIN_REQUESTS_PATH))[1]

    async def until_hits(self, hits: int) -> None:
        """Wait until the first fault has hit so many requests."""

        async def hit() -> bool:
            return bool((await self.get(ADMIN_FAULTS_PATH))[1]["faults"][0]["hits"] == hits)

        await until(hit, f"the fault never hit {hits} requests")

    async def until(self, **expected: int) -> None:
        """Wait until the engine counts its requests as expected."""

        async def counted() -> bool:
            counts = await self.requests()
            return all(counts[name] == number for name, number in expected.items())

        await until(counted, f"the engine never counted {expected}")


async def read_stream(response: aiohttp.ClientResponse) -> Streamed:
    streamed = Streamed()
    async for line in response.content:
        if not line.startswith(b"data: "):
            assert line == b"\n"
            continue
        assert not streamed.done, "something follows [DONE]"
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            streamed.done = True
        else:
            streamed.chunks.append(Chunk(json.loads(data), time.monotonic()))
    return streamed


async def until(condition: Callable[[], Awaitable[bool]], failure: str) -> None:
    """Poll until `condition` holds; fail at the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await condition():  # noqa: ASYNC110 - the engine is asked over HTTP
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(failure)


class _Thread(threading.Thread):
    """Runs one engine until it is asked to stop."""

    def __init__(self, settings: Settings, write_log: Callable[[str], object] | None) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._write_log = write_log
        self._listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ready = threading.Event()

    def run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        engine = Engine(self._settings, write_log=self._write_log)
        self._loop = asyncio.get_running_loop()
        self._shutdown = Shutdown(engine)
        await serve(engine, self._listener, self._shutdown, on_ready=self.ready.set)

    def ask_to_stop(self) -> None:
        self._loop.call_soon_threadsafe(self._shutdown.request)


class StartMock(Protocol):
    """Starts an engine; `write_log` gets its batch log."""

    def __call__(self, settings: Settings, write_log: Callable[[str], object] | None = None) -> Mock: ...


@pytest.fixture(scope="session")
def _started() -> Iterator[StartMock]:
    threads: list[_Thread] = []

    def start(settings: Settings, write_log: Callable[[str], object] | None = None) -> Mock:
        thread = _Thread(settings, write_log)
        threads.append(thread)
        thread.start()
        assert thread.ready.wait(DEADLINE_SECONDS)
        return Mock(thread.url, thread.ask_to_stop)

    yield start
    for thread in threads:
        if thread.is_alive():
            thread.ask_to_stop()
            thread.ask_to_stop()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def start_mock(_started: StartMock) -> StartMock:
    """Start an engine with settings of the test's own; it is stopped at the end of the session."""
    return _started


@pytest.fixture(scope="session")
def mock(_started: StartMock) -> Mock:
    """Return an engine that the tests share: they may not rely on its counts, nor leave requests behind."""
    return _started(Settings(served_model_names=("mock", "alias"), engine_id="engine-1", max_model_len=2048))
