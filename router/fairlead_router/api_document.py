"""The OpenAPI document of the data port: what the app answers itself, and what is relayed.

FastAPI knows only the former. Of a relayed request the document says no more than the router looks at; the rest is
between client and engine.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fairlead_router.relay.routes import ROUTES, Body, Route

Document = dict[str, Any]

_ERROR: Final[Document] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"description": "Of the router's own errors: the reason, as in `x-fairlead-reason`."},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
_REFUSED, _FAILED = "The request is refused.", "It cannot be carried out now."
ERRORS: Final[dict[int | str, Document]] = {
    status: {"description": what, "content": {"application/json": {"schema": _ERROR}}}
    for status, what in (("4XX", _REFUSED), ("5XX", _FAILED))
}
"""What every path of the router itself may answer."""
_RELAYED: Final[dict[int | str, Document]] = {
    status: {"description": what, "content": {kind: {} for kind in kinds}}
    for status, what, kinds in (
        ("200", "The engine's answer.", ("application/json", "text/event-stream")),
        ("4XX", f"{_REFUSED} With `x-fairlead-reason: engine_error` by the engine, in its own words.", ("*/*",)),
        ("5XX", f"{_FAILED} With `x-fairlead-reason: engine_error` as the engine says it.", ("*/*",)),
    )
}


def document(app: FastAPI) -> Document:
    """Return the document: the app's own paths and the relayed ones."""
    found: Document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    for path, route in ROUTES.items():
        found["paths"][path] = {method.lower(): _operation(route) for method in sorted(route.methods)}
    return found


def _operation(route: Route) -> Document:
    if route.body is Body.STREAMED:
        content = {"multipart/form-data": {"schema": {"type": "object"}}}
    else:
        content = {"application/json": {"schema": _looked_at(needs_model=route.needs_model)}}
    return {"tags": ["relayed"], "requestBody": {"required": True, "content": content}, "responses": _RELAYED}


def _looked_at(*, needs_model: bool) -> Document:
    """Return the schema of what the router reads of a body."""
    properties = {"model": {"type": "string", "minLength": 1}, "stream": {"type": "boolean"}}
    return {"type": "object", "properties": properties, **({"required": ["model"]} if needs_model else {})}
