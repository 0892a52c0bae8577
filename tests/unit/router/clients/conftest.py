"""One mock engine, asked twice: directly, and through a router. What it answers must be the same, byte for byte.

The engine's texts depend on the request alone. What it makes anew for every answer is replaced before answers are
compared, and nothing else: ids (letters, an underscore or dash, and random hexadecimal digits) and times in seconds.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiohttp
import anthropic
import openai
import pytest

from fairlead_router.config import RouterConfig

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 10.0
KEY = "sk-of-nobody"

_RANDOM_ID = re.compile(
    rb"\b(chatcmpl-tool-|chatcmpl-|cmpl-|resp_|msg_|fc_|call_|toolu_|trsc-|embd-|score-)[0-9a-f]{16,24}\b"
)
_TIME = re.compile(rb'"(created|created_at|completed_at)":[0-9.]+')


def comparable(body: bytes) -> bytes:
    """Return a body without what the engine makes anew for every answer."""
    return _TIME.sub(rb'"\1":0', _RANDOM_ID.sub(rb"\1ID", body))


@dataclass(frozen=True)
class Answer:
    """What came over the wire."""

    status: int
    content_type: str
    body: bytes
    engine: str | None
    """Value of `x-engine-id`."""
    reason: str | None
    """Value of `x-fairlead-reason`; None where no router was on the way."""

    @classmethod
    def of(cls, status: int, headers: Any, body: bytes) -> "Answer":
        found = (headers.get(name) for name in ("content-type", "x-engine-id", "x-fairlead-reason"))
        content_type, engine, reason = found
        return cls(status, content_type or "", body, engine, reason)


@dataclass
class Wire:
    """Notes the answers that a client gets; it is the hook of the client's HTTP library."""

    answers: list[Answer] = field(default_factory=list)

    async def __call__(self, response: Any) -> None:
        body = await response.aread()
        self.answers.append(Answer.of(response.status_code, response.headers, body))


def assert_same(direct: Answer, routed: Answer, reason: str | None) -> None:
    """Compare what the engine and the router have answered; without a `reason` the router has answered by itself."""
    assert (routed.status, routed.content_type) == (direct.status, direct.content_type)
    assert comparable(routed.body) == comparable(direct.body)
    assert routed.reason == reason
    assert routed.engine == (direct.engine if reason else None)


Client = TypeVar("Client")
Found = TypeVar("Found")
Refusal = TypeVar("Refusal", bound=Exception)


class Sides(Generic[Client]):
    """A client of the engine and one of the router."""

    def __init__(self, connect: Callable[[str, Wire], Client], engine_url: str, router_url: str) -> None:
        self._wires = Wire(), Wire()
        self.direct = connect(engine_url, self._wires[0])
        self.routed = connect(router_url, self._wires[1])

    async def ask(self, call: Callable[[Client], Awaitable[Found]], reason: str | None = "placed") -> Found:
        """Make a call on both sides, and return what the router's client made of the answer."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await call(self.direct)
            found = await call(self.routed)
        self._compare(reason)
        return found

    async def refused(
        self, call: Callable[[Client], Awaitable[Any]], error: type[Refusal], reason: str = "engine_error"
    ) -> Refusal:
        """Make a call on both sides that fails, and return what the router's client raised."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(error):
                await call(self.direct)
            with pytest.raises(error) as caught:
                await call(self.routed)
        self._compare(reason)
        return caught.value

    def _compare(self, reason: str | None) -> None:
        direct, routed = (wire.answers for wire in self._wires)
        assert len(direct) == len(routed) == 1
        assert_same(direct[0], routed[0], reason)
        direct.clear()
        routed.clear()


def openai_client(url: str, wire: Wire) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [wire]})
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0, http_client=http)


def anthropic_client(url: str, wire: Wire) -> anthropic.AsyncAnthropic:
    http = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [wire]})
    return anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, http_client=http)


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """A mock engine as users start it."""
    command = [BIN / "fairlead-engine", "--host", "127.0.0.1", "--port", "0", "--engine-id", "engine-1"]
    served = ["--served-model-name", "mock", "alias", "--lora-modules", "adapter=/adapters/a"]
    with subprocess.Popen([*command, *served], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r" on (http://\S+)", process.stdout.readline())
            assert found is not None
            yield found[1]
        finally:
            process.kill()


@pytest.fixture
def route(router: Any, engine_url: str) -> Callable[..., Awaitable[Any]]:
    """Start a router in front of the engine, or of `engines`; fields of its configuration by name."""

    async def start(*engines: Any, **fields: Any) -> Any:
        return await router(engines or [engine_url.removeprefix("http://")], RouterConfig(**fields))

    return start


@pytest.fixture
async def sides(route: Any, engine_url: str) -> AsyncIterator[Callable[..., Awaitable[Sides[Any]]]]:
    """Connect clients, by what makes them, to the engine and to a router."""
    async with AsyncExitStack() as stack:

        async def connect(make: Callable[[str, Wire], Any], router_url: str) -> Sides[Any]:
            made = Sides(make, engine_url, router_url)
            for client in (made.direct, made.routed):
                await stack.enter_async_context(client)
            return made

        yield connect


@pytest.fixture
async def with_openai(route: Any, sides: Any) -> Sides[openai.AsyncOpenAI]:
    made: Sides[openai.AsyncOpenAI] = await sides(openai_client, (await route()).url)
    return made


@pytest.fixture
async def with_anthropic(route: Any, sides: Any) -> Sides[anthropic.AsyncAnthropic]:
    made: Sides[anthropic.AsyncAnthropic] = await sides(anthropic_client, (await route()).url)
    return made


class Plain:
    """Requests without a client library, made of the engine and of the router."""

    def __init__(self, session: aiohttp.ClientSession, engine_url: str, router_url: str) -> None:
        self._session = session
        self._engine_url = engine_url
        self.router_url = router_url

    async def same(self, method: str, path: str, reason: str | None = "placed", **how: Any) -> Answer:
        """Send a request to both, and return what the router answered; `data` is a function where it makes a form."""
        direct = await self._send(method, self._engine_url + path, **how)
        routed = await self.routed(method, path, **how)
        assert_same(direct, routed, reason)
        return routed

    async def routed(self, method: str, path: str, **how: Any) -> Answer:
        """Send a request to the router."""
        return await self._send(method, self.router_url + path, **how)

    async def _send(self, method: str, url: str, data: Any = None, **how: Any) -> Answer:
        body = data() if callable(data) else data
        async with asyncio.timeout(DEADLINE_SECONDS), self._session.request(method, url, data=body, **how) as answer:
            return Answer.of(answer.status, answer.headers, await answer.read())


@pytest.fixture
async def plain(route: Any, engine_url: str) -> AsyncIterator[Callable[..., Awaitable[Plain]]]:
    async with aiohttp.ClientSession() as session:

        async def start(**fields: Any) -> Plain:
            return Plain(session, engine_url, (await route(**fields)).url)

        yield start
