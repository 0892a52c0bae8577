"""Requests to a router before one engine, told apart by their ids."""

import asyncio
from typing import Any

Answer = tuple[int, bytes, dict[str, str]]


class OneEngine:
    """A router and its engine, which is put in once it is started."""

    def __init__(self, running: Any) -> None:
        self.running = running
        self.engine: Any = None
        self._asking: list[asyncio.Task[Answer]] = []

    def send(self, name: str, headers: dict[str, str], **how: object) -> "asyncio.Task[Answer]":
        """Send a request of this name."""
        task = asyncio.create_task(self.running.asked(headers={"x-request-id": name, **headers}, **how))
        self._asking.append(task)
        return task

    @property
    def served(self) -> list[str]:
        """Names of the requests that the engine has got, in their order."""
        return [request.headers["x-request-id"] for request in self.engine.requests]

    async def close(self) -> None:
        """Give up what is still asked."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
