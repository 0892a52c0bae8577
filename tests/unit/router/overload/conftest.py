"""Mock engines as users start them, before which a router is given more than they can do."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fairlead_router.contract import EndpointState
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.types import EndpointView

BIN = Path(sys.executable).parent
START_SECONDS = 20.0

StartEngine = Callable[..., Awaitable[EndpointView]]


@asynccontextmanager
async def running(*flags: object) -> AsyncIterator[str]:
    """Run an engine; gives its address."""
    command = [BIN / "fairlead-engine", "--host", "127.0.0.1", "--port", "0", *flags]
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(START_SECONDS):
            line = (await process.stdout.readline()).decode()
        yield re.search(r" on http://(\S+)", line)[1]
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
async def mock_engine() -> AsyncIterator[StartEngine]:
    """Start engines with these limits, and flags."""
    async with AsyncExitStack() as stack:
        names = iter("abcd")

        async def start(limits: EngineLimits, *flags: object) -> EndpointView:
            own = ("--max-num-seqs", limits.max_num_seqs, "--max-num-batched-tokens", limits.batch_tokens)
            address = await stack.enter_async_context(running(*own, *flags))
            return EndpointView(next(names), address, EndpointState.READY, address, limits=limits)

        yield start
