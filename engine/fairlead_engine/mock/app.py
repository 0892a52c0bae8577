"""The mock engine's FastAPI application: vLLM's endpoints over one engine."""

import time
from importlib.metadata import version as distribution_version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route

from fairlead_engine.contract import ADMIN_REQUESTS_PATH, HEALTH_PATH
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.errors import RequestError
from fairlead_engine.mock.generate import Generate, error_response, require_model
from fairlead_engine.mock.protocol import DetokenizeBody, TokenizeBody, decode_tokens
from fairlead_engine.mock.rendering import Api
from fairlead_engine.mock.tokens import encode


def build_app(engine: Engine) -> FastAPI:
    """Return the application that serves `engine`."""
    app = FastAPI(openapi_url=None)
    app.add_exception_handler(RequestError, _refuse)
    app.router.routes.append(Route("/v1/chat/completions", Generate(engine, Api.CHAT), methods=["POST"]))
    app.router.routes.append(Route("/v1/completions", Generate(engine, Api.COMPLETION), methods=["POST"]))
    _add_model_routes(app, engine)
    _add_state_routes(app, engine)
    return app


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return error_response(error)


def _add_model_routes(app: FastAPI, engine: Engine) -> None:
    settings = engine.settings
    started_unix_seconds = int(time.time())

    @app.get("/v1/models")
    async def models() -> Response:
        return _json(
            {
                "object": "list",
                "data": [
                    {
                        "id": name,
                        "object": "model",
                        "created": started_unix_seconds,
                        "owned_by": "fairlead",
                        "root": settings.served_model_names[0],
                        "parent": None,
                        "max_model_len": settings.max_model_len,
                        "permission": [],
                    }
                    for name in settings.served_model_names
                ],
            }
        )

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = TokenizeBody.parse(await request.body())
        require_model(engine, body.model)
        tokens = encode(body.text())
        return _json({"count": len(tokens), "max_model_len": settings.max_model_len, "tokens": tokens})

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = DetokenizeBody.parse(await request.body())
        require_model(engine, body.model)
        return _json({"prompt": decode_tokens(body.tokens)})


def _add_state_routes(app: FastAPI, engine: Engine) -> None:
    async def health() -> Response:
        return Response(status_code=200 if engine.accepting else 503)

    app.add_api_route(HEALTH_PATH, health, methods=["GET"])
    app.add_api_route("/ping", health, methods=["GET", "POST"])

    @app.get("/version")
    async def version() -> Response:
        return _json({"version": distribution_version("fairlead")})

    @app.get("/load")
    async def load() -> Response:
        return _json({"server_load": engine.core.running + engine.core.waiting})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(engine.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @app.get(ADMIN_REQUESTS_PATH)
    async def requests() -> Response:
        return _json(
            {
                "running": engine.core.running,
                "waiting": engine.core.waiting,
                "aborted": engine.totals.aborted,
                "finished": engine.totals.finished,
            }
        )


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
