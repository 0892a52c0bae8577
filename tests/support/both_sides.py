"""Ask an engine directly and through a router, and compare what came over the wire.

At temperature 0 an engine gives the same text every time. Ids and times are replaced before bodies are compared. Where
vLLM cuts the text of a stream is up to chance: it sends what has come since it last looked. So of a stream the kinds of
events are compared in their order, with their framing, and the text of all together.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytest

DEADLINE_SECONDS = 60.0

_NEW_EVERY_TIME = re.compile(rb'"(id|item_id|call_id|created|created_at|completed_at)":("[^"]*"|[0-9.]+)')
_TEXT = re.compile(rb'"(content|text|delta|arguments|partial_json)":"((?:[^"\\]|\\.)*)"')
_SEQUENCE_NUMBER = re.compile(rb'"sequence_number":\d+')


def comparable(body: bytes) -> bytes:
    """Return a body without what an engine makes anew for every answer."""
    return _NEW_EVERY_TIME.sub(rb'"\1":0', body)


def said(stream: bytes) -> tuple[list[bytes], bytes]:
    """Return the events of a stream without their text, and the text; of text events that are alike the first of a row."""
    events: list[bytes] = []
    for event in _SEQUENCE_NUMBER.sub(b'"sequence_number":0', comparable(stream)).split(b"\n\n"):
        kind, texts = _TEXT.subn(rb'"\1":""', event)
        if not (texts and events and events[-1] == kind):
            events.append(kind)
    return events, b"".join(text for _, text in _TEXT.findall(stream))


@dataclass(frozen=True)
class Answer:
    """What came over the wire."""

    status: int
    content_type: str
    body: bytes


def assert_same(direct: Answer, routed: Answer) -> None:
    """Compare what the engine has answered directly and through the router."""
    assert (routed.status, routed.content_type) == (direct.status, direct.content_type)
    form = said if direct.content_type.startswith("text/event-stream") else comparable
    assert form(routed.body) == form(direct.body)


@dataclass
class Wire:
    """Notes the answers that a client gets; it is a hook of the client's HTTP library."""

    answers: list[Answer] = field(default_factory=list)

    async def __call__(self, response: Any) -> None:
        body = await response.aread()
        self.answers.append(Answer(response.status_code, response.headers["content-type"], body))


Client = TypeVar("Client")
Found = TypeVar("Found")


class Sides(Generic[Client]):
    """A client of the engine and one of the router in front of it."""

    def __init__(self, connect: Callable[[str, Wire], Client], engine_url: str, router_url: str) -> None:
        self._wires = Wire(), Wire()
        self.direct = connect(engine_url, self._wires[0])
        self.routed = connect(router_url, self._wires[1])

    async def ask(self, call: Callable[[Client], Awaitable[Found]]) -> Found:
        """Make a call on both sides, compare, and return what the router's client made of the answer."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await call(self.direct)
            found = await call(self.routed)
        self._compare()
        return found

    async def refused(self, call: Callable[[Client], Awaitable[Any]], error: type[Exception]) -> None:
        """Make a call that fails with `error` on both sides, and compare."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            for client in (self.direct, self.routed):
                with pytest.raises(error):
                    await call(client)
        self._compare()

    def _compare(self) -> None:
        direct, routed = (wire.answers for wire in self._wires)
        assert len(direct) == len(routed) == 1
        assert_same(direct.pop(), routed.pop())
