"""What all endpoints that do work share: reading a body, noticing that a client leaves, and what headers promise."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.types import Receive

from fairlead_engine.contract import SLO_CLASS_HEADER, SLO_TBT_HEADER
from fairlead_engine.mock.engine import Engine, Generation, Promise
from fairlead_engine.mock.errors import RequestError, bad_request

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Larger than any prompt that fits a context of a million tokens, and than the 25 MB of audio that vLLM takes."""


class ClientDisconnectedError(Exception):
    """The client left before its request was complete."""


async def read_body(receive: Receive) -> bytes:
    """Return the request's body.

    Raises
    ------
    ClientDisconnectedError
        The client left before it was complete.
    RequestError
        It is larger than MAX_BODY_BYTES (413).

    """
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        data += message.get("body", b"")
        if len(data) > MAX_BODY_BYTES:
            raise RequestError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", kind="BadRequestError")
        if not message.get("more_body", False):
            return bytes(data)


@asynccontextmanager
async def watched(engine: Engine, receive: Receive, generation: Generation) -> AsyncIterator[None]:
    """Abort the generation as soon as the client hangs up."""

    async def abort_on_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        engine.abort(generation)

    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(abort_on_disconnect())
        yield
        watch.cancel()


def promise_of(request: Request, priority: int) -> Promise:
    """Return what the headers say of class and TBT limit; RequestError (400) where the limit is no time."""
    text = request.headers.get(SLO_TBT_HEADER)
    if text is None:
        return Promise(request.headers.get(SLO_CLASS_HEADER, ""), None, priority)
    try:
        limit_ms = float(text)
    except ValueError:
        limit_ms = math.nan
    if not 0 < limit_ms < math.inf:
        raise bad_request(f"The header {SLO_TBT_HEADER} must be a number of milliseconds above 0, not {text!r}.")
    return Promise(request.headers.get(SLO_CLASS_HEADER, ""), limit_ms / 1000, priority)
