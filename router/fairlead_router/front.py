"""The first app that a request meets: sends relayed paths past FastAPI, and answers for faults of the router itself."""

import logging
from collections.abc import Awaitable, Callable, Collection

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.relay.app import send_error
from fairlead_router.relay.body import Message, Receive
from fairlead_router.relay.client import Send

logger = logging.getLogger(__name__)

App = Callable[[Message, Receive, Send], Awaitable[None]]


class Front:
    """ASGI app in front of the two others."""

    def __init__(self, app: App, relay: App, relayed_paths: Collection[str]) -> None:
        self._app = app
        self._relay = relay
        self._relayed_paths = frozenset(relayed_paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; the one place where a fault of the router becomes an answer instead of an end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        relayed = scope["method"] == "POST" and scope["path"] in self._relayed_paths
        try:
            await (self._relay if relayed else self._app)(scope, receive, noting_send)
        except Exception:  # the one guard of the data port
            logger.exception("fault while serving %s %s", scope["method"], scope["path"])
            if not started:
                await send_error(send, RequestError(Reason.INTERNAL_ERROR, "the router failed; see its log"))
