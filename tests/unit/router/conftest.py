"""Stand-ins on real sockets: an engine that follows a script, and a router in the test's own loop."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import aiohttp
import pytest

from fairlead_router.app import admin_app
from fairlead_router.config import RouterConfig
from fairlead_router.contract import EndpointState
from fairlead_router.data_path import DataPath
from fairlead_router.decisions.types import EndpointView
from fairlead_router.relay.services import Services
from fairlead_router.router import Router
from fairlead_router.server import HttpServer, bind, http_server

DEADLINE_SECONDS = 5.0


async def until(condition: Callable[[], bool], what: str) -> None:
    """Poll for a condition; fail with `what` when it does not come true."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions of other processes and of sockets have no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_SECONDS} s: {what}")


@dataclass
class Connection:
    """One connection to a scripted engine."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Abort the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Send nothing more, until the other side hangs up."""
        while await self.reader.read(65536):
            pass


Script = Callable[[Connection], Awaitable[None]]


@dataclass
class Received:
    """A request as the engine saw it."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedEngine:
    """An engine that answers every request by the same script, byte for byte."""

    script: Script
    requests: list[Received] = field(default_factory=list)
    hung_up: int = 0
    connections: int = 0
    port: int = 0
    tasks: set["asyncio.Task[None] | None"] = field(default_factory=set)
    reads_bodies: bool = True
    """Whether a request is read to its end before the script begins."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        try:
            await self._serve(reader, writer)
        finally:
            self.tasks.discard(asyncio.current_task())
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._receive(reader):
                await self.script(Connection(reader, writer))
                if writer.transport.is_closing():
                    await writer.wait_closed()
                    return
        self.hung_up += 1

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await until(lambda: not self.tasks, "the engine's connections are closed")

    async def _receive(self, reader: asyncio.StreamReader) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        line, *fields = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
        body = await self._body(reader, headers) if self.reads_bodies else b""
        self.requests.append(Received(line, headers, body))
        return True

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body


@pytest.fixture
async def engine() -> AsyncIterator[Callable[..., Awaitable[ScriptedEngine]]]:
    """Start scripted engines."""
    started: list[tuple[asyncio.Server, ScriptedEngine]] = []

    async def start(script: Script, *, reads_bodies: bool = True) -> ScriptedEngine:
        scripted = ScriptedEngine(script, reads_bodies=reads_bodies)
        server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, limit=1 << 26)
        scripted.port = server.sockets[0].getsockname()[1]
        started.append((server, scripted))
        return scripted

    yield start
    for server, scripted in started:
        server.close()
        await scripted.stop()


def head(status: str = "200 OK", *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
STREAM_HEAD = head("200 OK", "content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked")


def event(**body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def token(text: str = "hi", finish_reason: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}])


DONE = b"data: [DONE]\n\n"


def whole(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    return head(status, "content-type: application/json", f"content-length: {len(body)}", *fields) + body


def answers(*parts: bytes) -> Script:
    """Script: send the parts, keep the connection."""

    async def script(connection: Connection) -> None:
        for part in parts:
            await connection.send(part)

    return script


def streams(*events: bytes) -> Script:
    """Script: a proper stream of these events."""
    return answers(STREAM_HEAD, *(chunk(each) for each in events), LAST_CHUNK)


def answers_then_hangs(*parts: bytes) -> Script:
    """Script: send the parts, then nothing."""

    async def script(connection: Connection) -> None:
        await answers(*parts)(connection)
        await connection.hang()

    return script


def answers_then_closes(*parts: bytes) -> Script:
    """Script: send the parts, then close."""

    async def script(connection: Connection) -> None:
        await answers(*parts)(connection)
        connection.writer.close()

    return script


def answers_then_resets(after: asyncio.Event, *parts: bytes) -> Script:
    """Script: send the parts, and reset the connection once `after` is set."""

    async def script(connection: Connection) -> None:
        await answers(*parts)(connection)
        await after.wait()
        connection.reset()

    return script


class Kit:
    """The words of the scripts, for tests that cannot import this file."""

    head = staticmethod(head)
    chunk = staticmethod(chunk)
    event = staticmethod(event)
    token = staticmethod(token)
    whole = staticmethod(whole)
    answers = staticmethod(answers)
    streams = staticmethod(streams)
    answers_then_hangs = staticmethod(answers_then_hangs)
    answers_then_closes = staticmethod(answers_then_closes)
    answers_then_resets = staticmethod(answers_then_resets)
    until = staticmethod(until)
    DONE = DONE
    LAST_CHUNK = LAST_CHUNK
    STREAM_HEAD = STREAM_HEAD


@pytest.fixture
def kit() -> type[Kit]:
    return Kit


@dataclass
class RunningRouter:
    """A router on real sockets."""

    router: Router
    relay: Services
    url: str
    admin_url: str
    session: aiohttp.ClientSession
    data_path: DataPath

    def show(self, engines: Iterable[ScriptedEngine | str]) -> None:
        """Let these be the ready endpoints."""
        addresses = [each if isinstance(each, str) else each.address for each in engines]
        self.router.set_endpoints(EndpointView(uid=a, address=a, state=EndpointState.READY, name=a) for a in addresses)

    def post(
        self, body: object = None, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None
    ) -> "aiohttp.client._RequestContextManager":
        data = body if isinstance(body, bytes) else json.dumps(body or {"model": "mock", "stream": True})
        return self.session.post(self.url + path, data=data, headers=headers)

    async def asked(self, **how: object) -> tuple[int, bytes, dict[str, str]]:
        """Post and read the answer to its end."""
        async with self.post(**how) as answer:  # type: ignore[arg-type]
            return answer.status, await answer.read(), {k.lower(): v for k, v in answer.headers.items()}

    def sample(self, name: str, **labels: str) -> float | None:
        """Value of one series."""
        labels = {key.rstrip("_"): value for key, value in labels.items()}
        return self.router.telemetry.registry.get_sample_value(name, {"pool": self.router.config.pool, **labels})

    def ended(self, reason: str, verdict: str = "run", class_: str = "default") -> float:
        """How many requests have ended for this reason."""
        found = self.sample("fairlead_router_requests_total", verdict=verdict, reason=reason, class_=class_)
        return found or 0.0

    @property
    def in_flight(self) -> int:
        return sum(endpoint.in_flight for endpoint in self.router.endpoints())


StartRouter = Callable[..., Awaitable[RunningRouter]]


@pytest.fixture
async def router() -> AsyncIterator[StartRouter]:
    """Start routers."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            engines: Sequence[ScriptedEngine | str] = (),
            config: RouterConfig | None = None,
            tls: ssl.SSLContext | None = None,
        ) -> RunningRouter:
            config = config or RouterConfig()
            router = Router(config, random=Random(1))
            router.apply(config)
            data_path = await stack.enter_async_context(DataPath(router, random=Random(2)))
            url = await stack.enter_async_context(_serving(http_server(data_path.app, data_path.http, tls)))
            admin_url = await stack.enter_async_context(_serving(http_server(admin_app(router))))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            running = RunningRouter(router, data_path.services, url, admin_url, session, data_path)
            running.show(engines)
            return running

        yield start


@contextlib.asynccontextmanager
async def _serving(server: HttpServer) -> AsyncIterator[str]:
    """Serve without uvicorn's main loop, whose ticks would cost every test 0.3 s at its end."""
    listener = bind("127.0.0.1", 0)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for each in server.servers:
        each.close()
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await until(lambda: not server.server_state.tasks | server.server_state.connections, "nothing runs")
