"""The mock engine's application: vLLM's endpoints over one engine, and the faults around them."""

from importlib.metadata import version as distribution_version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route

from fairlead_engine.contract import ADMIN_FAULTS_PATH, ADMIN_REQUESTS_PATH, HEALTH_PATH
from fairlead_engine.mock import pooling
from fairlead_engine.mock.bodies.admin import FaultsBody, LoadAdapterBody, UnloadAdapterBody
from fairlead_engine.mock.bodies.anthropic import CountTokensBody, MessagesBody
from fairlead_engine.mock.bodies.openai import ChatBody, CompletionBody
from fairlead_engine.mock.bodies.responses import ResponsesBody, response_not_found
from fairlead_engine.mock.bodies.tokenize import DetokenizeBody, TokenizeBody
from fairlead_engine.mock.bodies.transcription import TranscriptionBody
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.errors import RequestError, error_response
from fairlead_engine.mock.fault_edge import FaultyApp, describe
from fairlead_engine.mock.generate import Api, Generate
from fairlead_engine.mock.multipart import parse_form
from fairlead_engine.mock.rendering.anthropic import MessagesWriter
from fairlead_engine.mock.rendering.openai import ChatWriter, CompletionWriter
from fairlead_engine.mock.rendering.responses import ResponsesWriter
from fairlead_engine.mock.rendering.transcription import TranscriptionWriter
from fairlead_engine.mock.tokens import count_tokens, decode, encode

_GENERATING = {
    "/v1/chat/completions": Api("chatcmpl-", lambda _request, data: ChatBody.parse(data), ChatWriter),
    "/v1/completions": Api("cmpl-", lambda _request, data: CompletionBody.parse(data), CompletionWriter),
    "/v1/responses": Api("resp_", lambda _request, data: ResponsesBody.parse(data), ResponsesWriter),
    "/v1/messages": Api("chatcmpl-", lambda _request, data: MessagesBody.parse(data), MessagesWriter),
    "/v1/audio/transcriptions": Api(
        "trsc-",
        lambda request, data: TranscriptionBody.of_form(parse_form(request.headers.get("content-type", ""), data)),
        TranscriptionWriter,
    ),
}
_POOLING = {
    "/v1/embeddings": pooling.embeddings,
    "/rerank": pooling.rerank,
    "/v1/rerank": pooling.rerank,
    "/v2/rerank": pooling.rerank,
    "/score": pooling.score,
    "/v1/score": pooling.score,
}


def build_app(engine: Engine) -> FaultyApp:
    """Return the application that serves `engine`."""
    app = FastAPI(openapi_url=None)
    app.add_exception_handler(RequestError, _refuse)
    for path, api in _GENERATING.items():
        app.router.routes.append(Route(path, Generate(engine, api), methods=["POST"]))
    for path, handle in _POOLING.items():
        app.router.routes.append(Route(path, pooling.Pooling(engine, handle), methods=["POST"]))
    _add_model_routes(app, engine)
    _add_token_routes(app, engine)
    _add_state_routes(app, engine)
    _add_fault_routes(app, engine)
    return FaultyApp(app, engine.faults, worked_on=frozenset({*_GENERATING, *_POOLING}))


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return error_response(error, request.url.path)


def _add_model_routes(app: FastAPI, engine: Engine) -> None:
    models = engine.models

    @app.get("/v1/models")
    async def list_models() -> Response:
        return _json({"object": "list", "data": models.cards()})

    @app.post("/v1/load_lora_adapter")
    async def load_adapter(request: Request) -> Response:
        return Response(models.load(LoadAdapterBody.parse(await request.body())))

    @app.post("/v1/unload_lora_adapter")
    async def unload_adapter(request: Request) -> Response:
        return Response(models.unload(UnloadAdapterBody.parse(await request.body())))


def _add_token_routes(app: FastAPI, engine: Engine) -> None:
    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        body = TokenizeBody.parse(await request.body())
        engine.models.adapter(body.model)
        tokens = encode(body.text())
        strings = [decode([token]) for token in tokens] if body.return_token_strs else None
        max_model_len = engine.settings.max_model_len
        return _json({"count": len(tokens), "max_model_len": max_model_len, "tokens": tokens, "token_strs": strings})

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        body = DetokenizeBody.parse(await request.body())
        engine.models.adapter(body.model)
        return _json({"prompt": body.text()})

    @app.post("/v1/messages/count_tokens")
    async def count_message_tokens(request: Request) -> Response:
        body = CountTokensBody.parse(await request.body())
        engine.models.adapter(body.model)
        tokens = count_tokens(body.prompt())
        return _json({"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}})

    @app.get("/v1/responses/{response_id}")
    async def response(response_id: str) -> Response:
        raise response_not_found(response_id)


def _add_state_routes(app: FastAPI, engine: Engine) -> None:
    async def health() -> Response:
        return Response(status_code=200 if engine.accepting and not engine.faults.fails_probe() else 503)

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


def _add_fault_routes(app: FastAPI, engine: Engine) -> None:
    @app.get(ADMIN_FAULTS_PATH)
    async def show_faults() -> Response:
        return _json(describe(engine.faults))

    @app.put(ADMIN_FAULTS_PATH)
    async def replace_faults(request: Request) -> Response:
        body = FaultsBody.parse(await request.body())
        engine.set_faults([fault.fault() for fault in body.faults], seed=body.seed)
        return _json(describe(engine.faults))

    @app.delete(ADMIN_FAULTS_PATH)
    async def end_faults() -> Response:
        engine.set_faults([], seed=0)
        return _json(describe(engine.faults))


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
