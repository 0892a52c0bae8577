"""The ASGI app of the relayed routes: checks a request, carries it out, accounts for it.

Raw ASGI, because anything above it buffers or hides the client's hang-up.
"""

import asyncio
import logging
from collections.abc import Iterable

from fairlead_router.contract import Header, Reason
from fairlead_router.decisions.types import RequestView
from fairlead_router.errors import RequestError
from fairlead_router.relay import headers as header_rules
from fairlead_router.relay.body import ClientGoneError, Message, Receive, asked_of, read_body
from fairlead_router.relay.client import ClientSide, Send
from fairlead_router.relay.exchange import Exchange
from fairlead_router.relay.guard import Guard
from fairlead_router.relay.upstream import Upstream, UpstreamRequest
from fairlead_router.router import Router

access_logger = logging.getLogger("fairlead_router.access")

_UNKNOWN = ""
"""Label `class` of a request that names none of the pool's classes."""


class RelayApp:
    """`POST` routes that go to an engine as they are."""

    def __init__(self, router: Router, upstream: Upstream, *, access_log: bool = False) -> None:
        self._router = router
        self._upstream = upstream
        self._access_log = access_log
        self._guards: set[Guard] = set()
        self.idle = asyncio.Event()
        """Set while no request is being carried out."""
        self.idle.set()

    @property
    def running(self) -> int:
        """Requests that are being carried out."""
        return len(self._guards)

    def interrupt_all(self) -> None:
        """End every running request: the router cannot wait for it."""
        for guard in self._guards:
            guard.interrupt(Reason.SHUTTING_DOWN)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        arrived_at = self._router.clock()
        headers = scope["headers"]
        request_id = header_rules.request_id_of(headers)
        service_class = _UNKNOWN
        try:
            service_class = self._router.class_of(header_rules.find(headers, Header.SLO_CLASS))
            slo = self._router.slos[service_class]  # taken now: the classes may change while the body arrives
            body = await self._body(headers, receive)
            asked = asked_of(body)
            self._router.check_model(asked.model)
        except ClientGoneError:
            self._router.telemetry.rejected(service_class, Reason.CLIENT_DISCONNECTED)
            return
        except RequestError as error:
            self._router.telemetry.rejected(service_class, error.reason)
            await send_error(send, error, [self._identity(request_id)])
            return
        request = RequestView(
            request_id=request_id,
            model=asked.model,
            streamed=asked.streamed,
            service_class=service_class,
            arrived_at=arrived_at,
            slo=slo,
            prompt_bytes=len(body),
        )
        carried = UpstreamRequest(scope["method"], _path(scope), header_rules.to_engine(headers, request_id), body)
        await self._carry_out(request, carried, receive, send)

    async def _body(self, headers: header_rules.RawHeaders, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._router.limits.total):
                body = await read_body(headers, receive)
        except TimeoutError:
            raise RequestError(Reason.TOTAL_TIMEOUT, "the body did not arrive within timeouts.total") from None
        if self._router.shutting_down:
            raise RequestError(Reason.SHUTTING_DOWN, "the router is stopping: send the request again")
        return body

    async def _carry_out(self, request: RequestView, carried: UpstreamRequest, receive: Receive, send: Send) -> None:
        self._router.telemetry.offered(request.service_class)
        guard = Guard(self._router.limits.total)
        self._guards.add(guard)
        self.idle.clear()
        exchange = Exchange(self._router, self._upstream, request, carried, ClientSide(send))
        reason = Reason.INTERNAL_ERROR
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch_client(receive, guard))
                try:
                    await exchange.run(guard)
                except RequestError as error:
                    reason = error.reason
                    await send_error(send, error, exchange.identity())
                finally:
                    watch.cancel()
                    # Before anything is awaited: who has seen the end of the answer can see it counted.
                    self._account_for(request, exchange, reason)
        finally:
            self._guards.discard(guard)
            if not self._guards:
                self.idle.set()

    def _account_for(self, request: RequestView, exchange: Exchange, reason: Reason) -> None:
        telemetry = self._router.telemetry
        if exchange.outcome is None:
            telemetry.rejected(request.service_class, reason)
        else:
            known = exchange.answer is not None and exchange.answer.status < 300
            telemetry.ended(request, exchange.outcome, exchange.usage, known_model=known)
            reason = exchange.outcome.reason
        if self._access_log:
            access_logger.info(
                "request=%s class=%s model=%s endpoint=%s reason=%s seconds=%.3f",
                request.request_id,
                request.service_class,
                request.model,
                exchange.endpoint_name or "-",
                reason,
                self._router.clock() - request.arrived_at,
            )

    def _identity(self, request_id: str) -> tuple[bytes, bytes]:
        return (Header.REQUEST_ID.encode(), f"{request_id}@{self._router.replica}".encode())


async def send_error(send: Send, error: RequestError, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with an error in OpenAI's shape."""
    body = error.body()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": error.status, "headers": [*error.headers(), *headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _watch_client(receive: Receive, guard: Guard) -> None:
    """Wait for the client's hang-up, and end its request then."""
    while (await receive())["type"] != "http.disconnect":
        pass
    guard.interrupt(Reason.CLIENT_DISCONNECTED)


def _path(scope: Message) -> str:
    query = scope["query_string"]
    path: str = scope["raw_path"].decode("ascii")
    return f"{path}?{query.decode('ascii')}" if query else path
