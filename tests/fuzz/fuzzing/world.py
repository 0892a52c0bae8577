"""A real router with real sockets between hostile clients and hostile engines, and what must hold of it.

Its times are short, so that whatever waits for ever is found out soon.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from types import TracebackType
from typing import Final, Self

from wire import Answer

from fairlead_router.config import AccessLog, Breaker, Limits, Retries, RouterConfig, Timeouts
from fairlead_router.contract import EndpointState
from fairlead_router.data_path import DataPath
from fairlead_router.decisions.types import EndpointView
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing
from fairlead_router.router import Router
from fairlead_router.server import bind, http_server
from fuzzing.caller import ROUTER_REASON, judge, play
from fuzzing.cases import Case
from fuzzing.engine import HostileEngine

ENGINES: Final = 2
MAX_CASE_SECONDS: Final = 10.0
"""A case in which nothing hangs takes less than one."""
CONFIG: Final = RouterConfig(
    timeouts=Timeouts(connect="500ms", first_byte="80ms", inter_token="80ms", total="500ms"),
    limits=Limits(
        body_bytes=4096,
        header_bytes=2048,
        keep_alive="100ms",
        header_timeout="150ms",
        body_timeout="150ms",
        send_timeout="150ms",
    ),
    retries=Retries(budget=1.0, backoff="1ms"),
    breaker=Breaker(failures=1000),
    passthrough=True,
    access_log=AccessLog(),
)
_WITHOUT_KEY: Final = frozenset({400, 401, 404, 405, 408, 413, 431, 501, 503})
_PROBES: Final = (b'"status":"ok"', b'"ready":true')


class World:
    """Async context manager; plays one case after another."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        """All answers so far by their reason, or their status where they have none."""
        self._engine = HostileEngine()
        self._stack = contextlib.AsyncExitStack()
        self._address = ("127.0.0.1", 0)
        self._router: Router
        self._path: DataPath

    async def __aenter__(self) -> Self:
        addresses = [await self._listening() for _ in range(ENGINES)]
        self._router = Router(CONFIG, random=Random(1))
        self._router.apply(CONFIG)
        self._router.set_endpoints(EndpointView(uid=a, address=a, state=EndpointState.READY, name=a) for a in addresses)
        self._path = await self._stack.enter_async_context(DataPath(self._router, random=Random(2)))
        self._address = await self._stack.enter_async_context(_served(self._path))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def wrong_with(self, case: Case) -> list[str]:
        """Play a case; returns what does not hold."""
        self._engine.begin(case.replies)
        self._router.gate = Gate(KeyRing() if case.locked else None)
        wrongs: list[str] = []
        try:
            async with asyncio.timeout(MAX_CASE_SECONDS):
                heard = await asyncio.gather(*(play(caller, self._address) for caller in case.callers))
        except TimeoutError:
            wrongs.append(f"a connection hangs: {self._held()}")
            self._hang_up()
        else:
            for each, caller in zip(heard, case.callers, strict=True):
                answers, wrong = judge(each, caller)
                wrongs += wrong
                wrongs += self._let_in(answers) if case.locked else []
                self.answers.update(answer.headers.get(ROUTER_REASON, str(answer.status)) for answer in answers)
        return wrongs + await self._left_behind() + self._engine.wrongs

    def _let_in(self, answers: list[Answer]) -> list[str]:
        """Say what somebody without a key has got."""
        wrongs = [
            f"without a key: {answer}"
            for answer in answers
            if answer.status not in _WITHOUT_KEY and not any(probe in answer.body for probe in _PROBES)
        ]
        return wrongs + [f"without a key, at an engine: {head!r}" for head in self._engine.heads]

    async def _left_behind(self) -> list[str]:
        """Wait until nothing runs; say what still does."""
        try:
            async with asyncio.timeout(MAX_CASE_SECONDS / 2):
                while self._held():  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.002)
        except TimeoutError:
            wrong = f"left behind: {self._held()}"
            self._hang_up()
            return [wrong]
        return []

    def _held(self) -> dict[str, int]:
        """What is not at rest."""
        edge, pool, services = self._path.edge, self._path.pool, self._path.services
        held = {
            "client connections": len(edge.connections),
            "requests of the app": len(edge.tasks),
            "running": len(services.running),
            "in flight": sum(endpoint.in_flight for endpoint in self._router.endpoints()),
            "buffered bytes": services.buffered_bytes,
            "busy engine connections": pool.counts["active"],
            "deadlines": len(self._path.deadlines._members) - pool.counts["idle"],
        }
        return {name: count for name, count in held.items() if count}

    def _hang_up(self) -> None:
        """Go on with the next case whatever this one has left."""
        for connection in tuple(self._path.edge.connections):
            connection.transport.abort()  # type: ignore[attr-defined]

    async def _listening(self) -> str:
        server, address = await self._engine.listen()
        self._stack.callback(server.close)
        return address


@contextlib.asynccontextmanager
async def _served(path: DataPath) -> AsyncIterator[tuple[str, int]]:
    """Serve without uvicorn's main loop."""
    listener = bind("127.0.0.1", 0)
    server = http_server(path.app, path.http)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    yield listener.getsockname()
    for each in server.servers:
        each.close()
