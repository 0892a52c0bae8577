"""Ask an engine directly and through a router, and compare what came over the wire.

At temperature 0 an engine gives the same text every time. Ids and times are replaced before bodies are compared. Where
vLLM cuts the text of a stream is up to chance: it sends what has come since it last looked. So of a stream the kinds of
events are compared in their order, with their framing, and the text of all together.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anthropic
import openai
import pytest

KEY = "sk-of-nobody"
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
    engine: str | None = None
    """Value of `x-engine-id`, which the mock engine sends."""
    reason: str | None = None
    """Value of `x-fairlead-reason`; None where no router has relayed it."""

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes) -> "Answer":
        """Take what is compared."""
        engine, reason = headers.get("x-engine-id"), headers.get("x-fairlead-reason")
        return cls(status, headers.get("content-type", ""), body, engine, reason)


def assert_relayed(direct: Answer, routed: Answer, reason: str | None) -> None:
    """Compare what leads an answer; without a `reason` the router has answered by itself."""
    assert (routed.status, routed.content_type) == (direct.status, direct.content_type)
    assert routed.reason == reason
    assert routed.engine == (direct.engine if reason else None)


def assert_same(direct: Answer, routed: Answer) -> None:
    """Compare what an engine that generates greedily has answered directly and through the router."""
    assert (routed.status, routed.content_type) == (direct.status, direct.content_type)
    form = said if direct.content_type.startswith("text/event-stream") else comparable
    assert form(routed.body) == form(direct.body)


@dataclass
class Wire:
    """Notes the answers that a client gets; it is a hook of the client's HTTP library."""

    answers: list[Answer] = field(default_factory=list)

    async def __call__(self, response: Any) -> None:
        body = await response.aread()
        self.answers.append(Answer.of(response.status_code, response.headers, body))


def openai_client(url: str, wire: Wire) -> openai.AsyncOpenAI:
    """Connect OpenAI's client."""
    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [wire]})
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0, http_client=http)


def anthropic_client(url: str, wire: Wire) -> anthropic.AsyncAnthropic:
    """Connect Anthropic's client."""
    http = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [wire]})
    return anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, http_client=http)


Client = TypeVar("Client")
Found = TypeVar("Found")
Refusal = TypeVar("Refusal", bound=Exception)


class Sides(Generic[Client]):
    """A client of the engine and one of the router in front of it, whose answers `same` compares."""

    def __init__(
        self,
        connect: Callable[[str, Wire], Client],
        engine_url: str,
        router_url: str,
        same: Callable[[Answer, Answer], None] = assert_same,
    ) -> None:
        self._wires = Wire(), Wire()
        self._same = same
        self.direct = connect(engine_url, self._wires[0])
        self.routed = connect(router_url, self._wires[1])

    async def ask(self, call: Callable[[Client], Awaitable[Found]], reason: str | None = "placed") -> Found:
        """Make a call on both sides, compare, and return what the router's client made of the answer."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await call(self.direct)
            found = await call(self.routed)
        self._compare(reason)
        return found

    async def refused(
        self, call: Callable[[Client], Awaitable[Any]], error: type[Refusal], reason: str = "engine_error"
    ) -> Refusal:
        """Make a call that fails on both sides, compare, and return what the router's client raised."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(error):
                await call(self.direct)
            with pytest.raises(error) as caught:
                await call(self.routed)
        self._compare(reason)
        return caught.value

    def _compare(self, reason: str | None) -> None:
        (direct,), (routed,) = (wire.answers for wire in self._wires)
        assert_relayed(direct, routed, reason)
        self._same(direct, routed)
        for wire in self._wires:
            wire.answers.clear()
