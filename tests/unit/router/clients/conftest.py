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
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from both_sides import Answer, Sides, Wire, anthropic_client, assert_relayed, openai_client

from fairlead_router.config import RouterConfig

BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 10.0

_RANDOM_ID = re.compile(
    rb"\b(chatcmpl-tool-|chatcmpl-|cmpl-|resp_|msg_|fc_|call_|toolu_|trsc-|embd-|score-)[0-9a-f]{16,24}\b"
)
_TIME = re.compile(rb'"(created|created_at|completed_at)":[0-9.]+')


def comparable(body: bytes) -> bytes:
    """Return a body without what the engine makes anew for every answer."""
    return _TIME.sub(rb'"\1":0', _RANDOM_ID.sub(rb"\1ID", body))


def assert_same(direct: Answer, routed: Answer) -> None:
    """Compare bodies."""
    assert comparable(routed.body) == comparable(direct.body)


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
            made = Sides(make, engine_url, router_url, assert_same)
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
        assert_relayed(direct, routed, reason)
        assert_same(direct, routed)
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
