"""Real vLLM on the CPU, a router in front of it, and clients of both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from both_sides import DEADLINE_SECONDS, Sides, Wire, anthropic_client, openai_client
from prometheus_client.parser import text_string_to_metric_families
from vllm_process import EMBEDDING, RouterProcess, running_router, running_vllm


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM that generates text."""
    with running_vllm(tmp_path_factory.mktemp("vllm")) as url:
        yield url


@pytest.fixture(scope="session")
def router(vllm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router in front of the vLLM that generates text."""
    with running_router(tmp_path_factory.mktemp("router"), vllm) as running:
        yield running


@pytest.fixture(scope="module")
def embedding_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM that makes embeddings."""
    with running_vllm(tmp_path_factory.mktemp("embedding-vllm"), *EMBEDDING) as url:
        yield url


@pytest.fixture(scope="module")
def embedding_router(embedding_vllm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router in front of the vLLM that makes embeddings."""
    with running_router(tmp_path_factory.mktemp("embedding-router"), embedding_vllm) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE_SECONDS)) as session:
        yield session


@dataclass(frozen=True)
class Scrape:
    """The metrics of a process at one moment."""

    text: str

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; 0 where there is none yet."""
        samples = [s for family in text_string_to_metric_families(self.text) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


class Metrics:
    """The metrics of a process, asked for anew every time."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url + "/metrics"

    async def scrape(self) -> Scrape:
        async with self._session.get(self._url) as answer:
            return Scrape(await answer.text())

    async def until(self, what: str, condition: Callable[[Scrape], bool]) -> Scrape:
        """Poll until a condition holds, and return the metrics with which it did."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not condition(found := await self.scrape()):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"not within {DEADLINE_SECONDS:g} s: {what}")
        return found


@pytest.fixture
def vllm_metrics(session: aiohttp.ClientSession, vllm: str) -> Metrics:
    return Metrics(session, vllm)


@pytest.fixture
def router_metrics(session: aiohttp.ClientSession, router: RouterProcess) -> Metrics:
    return Metrics(session, router.admin_url)


@contextlib.asynccontextmanager
async def connected(make: Callable[[str, Wire], Any], engine: str, router: RouterProcess) -> AsyncIterator[Sides[Any]]:
    sides = Sides(make, engine, router.url)
    async with sides.direct, sides.routed:
        yield sides


@pytest.fixture
async def with_openai(vllm: str, router: RouterProcess) -> AsyncIterator[Sides[openai.AsyncOpenAI]]:
    async with connected(openai_client, vllm, router) as sides:
        yield sides


@pytest.fixture
async def with_anthropic(vllm: str, router: RouterProcess) -> AsyncIterator[Sides[anthropic.AsyncAnthropic]]:
    async with connected(anthropic_client, vllm, router) as sides:
        yield sides


@pytest.fixture
async def with_openai_embedding(
    embedding_vllm: str, embedding_router: RouterProcess
) -> AsyncIterator[Sides[openai.AsyncOpenAI]]:
    async with connected(openai_client, embedding_vllm, embedding_router) as sides:
        yield sides
