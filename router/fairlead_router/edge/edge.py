"""What all client connections of a process share: who may come in, and where a request goes.

Whatever is decided by a request's path or its key is decided here, once, before relayed requests and all others part.
"""

import asyncio
from functools import partial
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.deadlines import Deadlines, Timed
from fairlead_router.edge.cold import AsgiApp, ColdRequest
from fairlead_router.edge.handler import Handler
from fairlead_router.edge.response import Response
from fairlead_router.edge.target import Target, target_of
from fairlead_router.errors import ErrorShape, RequestError
from fairlead_router.http1.requests import RequestHead
from fairlead_router.identity.keys import ANYONE, Principal
from fairlead_router.relay.entry import entry_of, known_entry
from fairlead_router.relay.headers import identity_of, request_id_of
from fairlead_router.relay.inbound import Admitted, JsonRequest, UploadRequest, too_large
from fairlead_router.relay.outbound import Uploader
from fairlead_router.relay.routes import PASSTHROUGH, ROUTES, Body, Route
from fairlead_router.relay.services import Services

PUBLIC_PATHS: Final = frozenset({"/health", "/ready"})
"""Answered without an API key: probes have none."""


class Edge:
    """One per event loop."""

    def __init__(self, services: Services, deadlines: Deadlines, app: AsgiApp) -> None:
        self.router = services.router
        self.loop = services.loop
        self.connections: set[Timed] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that the app is answering."""
        self._services = services
        self.deadlines = deadlines
        self._app = app

    def connected(self, connection: Timed) -> RequestError | None:
        """Note a new connection; says why it must not stay."""
        self.connections.add(connection)
        self.deadlines.add(connection)
        limit = self.router.config.limits.connections
        if len(self.connections) > limit:
            return RequestError(Reason.OVERLOADED, f"the router has {limit} connections, which is its limit")
        return None

    def disconnected(self, connection: Timed) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.deadlines.discard(connection)

    def begin(self, head: RequestHead, response: Response, client: Uploader) -> Handler:
        """Let a request in.

        Raises
        ------
        RequestError
            It is not let in.

        """
        router = self.router
        entry = known_entry(head, self._services)
        if entry is None:
            target = target_of(head.target)
            caller = ANYONE if target.path in PUBLIC_PATHS else router.gate.identify(head.headers)
            route = self._route(target.path)
            if route is None:
                return self._cold(head, target, caller, response)
            entry = entry_of(head, target, caller, route, self._services)
        limit = router.config.limits.body_bytes
        if head.body_bytes is not None and head.body_bytes > limit:
            raise too_large(limit)
        router.check_running()
        admitted = Admitted(self._services, entry, head, response)
        if entry.route.body is Body.JSON:
            return JsonRequest(admitted)
        upload = UploadRequest(admitted, client)
        upload.start()
        return upload

    def refused(self, response: Response, error: RequestError, head: RequestHead | None) -> None:
        """Answer a request that was not let in; without a `head` it was none."""
        request_id = request_id_of(head.first if head else {}, self._services.random)
        response.fail(error, identity_of(request_id, self.router.replica), _shape_for(head))
        self._services.refused(error.reason, response, head, request_id)

    def _cold(self, head: RequestHead, target: Target, caller: Principal, response: Response) -> ColdRequest:
        request_id = request_id_of(head.first, self._services.random)
        account = partial(self._services.answered, request_id, head, target, caller, response, self.router.clock())
        identity = identity_of(request_id, self.router.replica)
        return ColdRequest(self._app, head, target, caller, response, identity, self.tasks, account)

    def _route(self, path: str) -> Route | None:
        route = ROUTES.get(path)
        if route is None and self.router.config.passthrough and path.startswith("/v1/") and not _lists_models(path):
            return PASSTHROUGH
        return route


def _lists_models(path: str) -> bool:
    """Whether the router answers itself: it knows the models of the whole pool, and which of them a caller may use."""
    return path == "/v1/models" or path.startswith("/v1/models/")


def _shape_for(head: RequestHead | None) -> ErrorShape:
    """Return the shape of errors that a client understands which sends this."""
    speaks_anthropic = head is not None and b"anthropic-version" in head.first
    return ErrorShape.ANTHROPIC if speaks_anthropic else ErrorShape.OPENAI
