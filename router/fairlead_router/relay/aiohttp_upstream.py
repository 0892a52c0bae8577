"""The upstream seam on aiohttp's client."""

from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
from yarl import URL

from fairlead_router.relay.upstream import ClosedError, ConnectError, LostError, UpstreamRequest

KEEPALIVE_SECONDS = 4.0
"""Shorter than the 5 s after which uvicorn, and so vLLM, closes an idle connection."""

_PIECE_BYTES = 256 * 1024
"""Bodies larger than this are written piece by piece, so that other streams get their turn in between."""

_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add by itself."""


class AiohttpUpstream:
    """One per router: connection pools without limit, no timeout of their own, bodies as they come."""

    def __init__(self) -> None:
        self._kept = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS))
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kept.close()
        await self._fresh.close()

    async def send(
        self, address: str, request: UpstreamRequest, *, connect_seconds: float, fresh: bool = False
    ) -> "AiohttpAnswer":
        """Send the request and wait for the head of the answer, as `Upstream.send` promises."""
        session = self._fresh if fresh else self._kept
        connection = SimpleNamespace(reused=False)
        try:
            response = await session.request(
                request.method,
                URL(f"http://{address}{request.path}", encoded=True),
                headers=[*request.headers, ("content-length", str(len(request.body)))],
                data=_payload(request.body),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
                allow_redirects=False,
                trace_request_ctx=connection,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ConnectError(f"no connection to {address}: {error or 'timed out'}") from error
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            raise ClosedError(f"{address} closed the connection: {error}", reused=connection.reused) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise LostError(f"{address} does not answer in HTTP: {error}") from error
        return AiohttpAnswer(response)


class AiohttpAnswer:
    """An answer read through aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as the engine sent them."""
        return self._response.raw_headers

    async def read(self) -> bytes:
        """Wait for the next bytes of the body, as `Answer.read` promises."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise LostError(str(error)) from error

    def close(self) -> None:
        """Close the connection unless the body was read to its end."""
        self._response.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_SKIPPED,
        trace_configs=[trace],
    )


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.reused = True


def _payload(body: bytes) -> bytes | AsyncIterator[bytes] | None:
    if len(body) <= _PIECE_BYTES:
        return body or None
    return _pieces(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])
