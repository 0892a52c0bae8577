"""Hand a request that is not relayed to an ASGI app, and its answer back.

The app sees the request as the edge has parsed and normalised it: there is no second parser that could read it in
another way. No path of the app takes a body, so what there is of one is read and dropped before the app is called.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from fairlead_router.contract import Header, Reason
from fairlead_router.edge.response import Response
from fairlead_router.edge.target import Target
from fairlead_router.errors import RequestError
from fairlead_router.http1.messages import lines_of
from fairlead_router.http1.requests import RequestHead
from fairlead_router.identity.keys import Principal

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

CALLER = "fairlead.caller"
"""Key of the ASGI scope under which the app finds who asks."""
_REASON = Header.REASON.encode()
MAX_BODY_BYTES = 1024 * 1024
"""Of a request that no engine will see."""


class ColdRequest:
    """One request for the ASGI app; `tasks` holds its task while it runs, `ended` is told once how it went."""

    def __init__(
        self,
        app: AsgiApp,
        head: RequestHead,
        target: Target,
        caller: Principal,
        response: Response,
        identity: bytes,
        tasks: "set[asyncio.Task[None]]",
        ended: Callable[[Reason], None],
    ) -> None:
        self._app = app
        self._head = head
        self._target = target
        self._caller = caller
        self._response = response
        self._identity = identity  # the line that says who answers what
        self._tasks = tasks
        self._ended: Callable[[Reason], None] | None = ended
        self._reason = Reason.CLIENT_DISCONNECTED  # unless there is an answer
        self._task: asyncio.Task[None] | None = None
        self._body_bytes = 0
        self._received = False
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def body(self, data: bytes) -> None:
        """Drop a piece of the body."""
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES:
            self.fail(RequestError(Reason.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes"))

    def body_end(self) -> None:
        """Call the app."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def fail(self, error: RequestError) -> None:
        """Answer with an error."""
        if self._response.started:
            self._response.abort()
        else:
            self._response.fail(error, self._identity)
        self._finish(error.reason)
        self.client_gone()

    def pause(self) -> None:
        """Hold the app's next piece back."""
        self._writable.clear()

    def resume(self) -> None:
        """Let the app go on."""
        self._writable.set()

    def client_gone(self) -> None:
        """Tell the app, if it asks."""
        self._gone.set()
        self._writable.set()
        if self._task is None:
            self._finish(Reason.CLIENT_DISCONNECTED)

    async def _run(self) -> None:
        try:
            await self._app(self._scope(), self._receive, self._send)
        except Exception:  # the guard of requests that are not relayed
            logger.exception("fault while serving %s %s", self._head.method, self._target.path)
            if not self._gone.is_set() and not self._response.ended:
                self.fail(RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log"))
        self._finish(self._reason if self._response.ended else Reason.CLIENT_DISCONNECTED)

    def _finish(self, reason: Reason) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(reason)

    def _scope(self) -> Message:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._head.version,
            "method": self._head.method,
            "scheme": "http",
            "path": unquote(self._target.path),
            "raw_path": self._target.path.encode("ascii"),
            "query_string": self._target.query,
            "root_path": "",
            "headers": self._head.headers,
            "client": None,
            "server": None,
            CALLER: self._caller,
        }

    async def _receive(self) -> Message:
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], list(message["headers"]))
            return
        await self._writable.wait()
        data = message.get("body", b"")
        if message.get("more_body", False):
            self._response.write(data)
        else:
            self._gone.set()  # for an app that waits for the client behind its answer
            self._response.end(data)

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        lengths = [int(value) for name, value in headers if name.lower() == b"content-length"]
        fields = [field for field in headers if field[0].lower() not in {b"connection", b"content-length", b"date"}]
        self._reason = next((Reason(value.decode()) for name, value in fields if name == _REASON), Reason.COMPLETED)
        lines = lines_of(fields) + self._identity
        self._response.start(status, lines, length=lengths[0] if lengths else None)
