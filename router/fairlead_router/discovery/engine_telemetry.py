"""Look at what engines say of themselves, again and again."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from fairlead_router.contract import EndpointState
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.types import EndpointView
from fairlead_router.discovery.engine_metrics import read_report
from fairlead_router.router import Router
from fairlead_router.upstream.ask import ask
from fairlead_router.upstream.errors import UpstreamError
from fairlead_router.upstream.pool import Pool

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 1.0
_AT_ONCE: Final = 16
_PATHS: Final = ("/metrics", "/prometheus/metrics")
"""Of vLLM and SGLang, and of trtllm-serve."""
_NOTHING_FOR: Final = 30
"""Looks that an engine is left alone for after one in which it said nothing that is understood."""


class EngineTelemetry:
    """Looks at the engines of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._paths: dict[str, str] = {}
        """Where an engine was understood, by address."""
        self._silent: dict[str, int] = {}
        """For how many looks an engine is left alone, by address."""

    async def look(self, endpoints: Iterable[EndpointView]) -> Mapping[str, EngineReport]:
        """Return what the engines say of themselves, by uid; those that say nothing are left out."""
        there = [endpoint for endpoint in endpoints if endpoint.state is not EndpointState.GONE]
        addresses = {endpoint.address for endpoint in there}
        self._paths = {address: path for address, path in self._paths.items() if address in addresses}
        self._silent = {
            address: left - 1 for address, left in self._silent.items() if address in addresses and left > 1
        }
        reports = await asyncio.gather(*(self._look_at(endpoint.address) for endpoint in there))
        return {endpoint.uid: report for endpoint, report in zip(there, reports, strict=True) if report is not None}

    async def _look_at(self, address: str) -> EngineReport | None:
        if address in self._silent:
            return None
        known = self._paths.get(address)
        async with self._at_once:
            for path in _PATHS if known is None else (known,):
                report = await self._asked(address, path)
                if report is not None:
                    self._paths[address] = path
                    return report
        if known is None:
            self._silent[address] = _NOTHING_FOR
        return None

    async def _asked(self, address: str, path: str) -> EngineReport | None:
        try:
            answer = await ask(self._pool, address, path, seconds=ANSWER_SECONDS)
            return read_report(answer.body.decode()) if answer.status == 200 else None
        except (UpstreamError, TimeoutError, ValueError) as error:
            logger.debug("%s%s: %s", address, path, error)
            return None


async def follow_engines(router: Router, pool: Pool) -> None:
    """Tell a router once a second what its engines say, for ever."""
    telemetry = EngineTelemetry(pool)
    while True:
        router.note_reports(await telemetry.look(router.endpoints()))
        await asyncio.sleep(LOOK_SECONDS)
