"""The two HTTP apps: what the data port answers itself, and the admin port."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fairlead_router.api_document import ERRORS, document
from fairlead_router.contract import Reason
from fairlead_router.decisions.journal import Question
from fairlead_router.edge.cold import CALLER
from fairlead_router.errors import RequestError
from fairlead_router.models import Models
from fairlead_router.router import Router


def data_app(router: Router, models: Models) -> FastAPI:
    """Build the app of the data port: everything that is not relayed."""
    app = FastAPI(
        title="Fairlead router",
        summary="OpenAI's API in front of a pool of inference engines",
        redirect_slashes=False,  # paths are normalised before they come here
        responses=ERRORS,
    )
    app.openapi = partial(document, app)  # type: ignore[method-assign]  # as FastAPI's documentation has it

    @app.get("/v1/models")
    async def list_models(request: Request) -> JSONResponse:
        """List the models that the caller can name in a request."""
        return JSONResponse({"object": "list", "data": await models.listed(request.scope[CALLER])})

    @app.get("/v1/models/{name:path}")
    async def show_model(request: Request, name: str) -> JSONResponse:
        """Show one of them."""
        for model in await models.listed(request.scope[CALLER]):
            if model["id"] == name:
                return JSONResponse(model)
        raise RequestError(Reason.MODEL_NOT_FOUND, f"the model {name!r:.100} is not served here", param="model")

    _add_probes(app, router)
    _answer_errors_as_openai(app)
    return app


def admin_app(router: Router) -> FastAPI:
    """Build the app of the admin port."""
    app = FastAPI(title="Fairlead router, admin")
    _add_probes(app, router)
    _answer_errors_as_openai(app)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Expose the metrics in Prometheus' text format."""
        return Response(await router.telemetry.exposed(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/admin/v1/endpoints")
    async def endpoints() -> JSONResponse:
        """List the endpoints with this router's own ledger; the operator's drain waits for `inFlight` 0."""
        return JSONResponse(
            [
                {
                    "uid": endpoint.uid,
                    "name": endpoint.name,
                    "address": endpoint.address,
                    "state": endpoint.state,
                    "inFlight": endpoint.in_flight,
                    "queued": 0,
                    "breaker": endpoint.breaker,
                    "telemetry": endpoint.telemetry,
                    "engineRunning": endpoint.engine_running,
                    "engineWaiting": endpoint.engine_waiting,
                    "kvUsage": endpoint.kv_usage,
                    "kvTokens": endpoint.limits and endpoint.limits.kv_tokens,
                    "predictionError": endpoint.prediction_error,
                }
                for endpoint in router.endpoints()
            ]
        )

    @app.get("/admin/v1/decisions")
    async def decisions(
        request: Annotated[
            str | None, Query(description="Id of one request; its suffix `@REPLICA` is left out.")
        ] = None,
        kept: Annotated[Literal["notable", "all"], Query(description="Only what went wrong, or all.")] = "notable",
        last: Annotated[int, Query(ge=1, le=1000)] = 20,
    ) -> JSONResponse:
        """Show what was decided of the last requests and by what, the newest first; `fairlead explain` tells it in words."""
        return JSONResponse(await router.decisions(Question(request, kept == "notable", last)))

    return app


def _add_probes(app: FastAPI, router: Router) -> None:
    @app.get("/health")
    async def health() -> JSONResponse:
        """Say that the process serves."""
        return JSONResponse({"status": "ok"})

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Say whether requests should be sent here; it does not depend on engines being there."""
        waiting_for = router.not_ready_because()
        body = {"ready": not waiting_for, "waitingFor": waiting_for}
        return JSONResponse(body, status_code=503 if waiting_for else 200)


def _answer_errors_as_openai(app: FastAPI) -> None:
    reasons: Mapping[int, Reason] = {404: Reason.NOT_FOUND, 405: Reason.METHOD_NOT_ALLOWED}

    @app.exception_handler(RequestError)
    async def answer(_request: Request, error: RequestError) -> Response:
        headers = {name.decode(): value.decode() for name, value in error.headers()}
        return Response(error.body(), status_code=error.status, headers=headers)

    @app.exception_handler(HTTPException)
    async def translate(request: Request, error: HTTPException) -> Response:
        reason = reasons.get(error.status_code, Reason.INVALID_REQUEST)
        message = f"{request.method} {request.url.path}: {error.detail}"
        return await answer(request, RequestError(reason, message, allow=(error.headers or {}).get("Allow")))
