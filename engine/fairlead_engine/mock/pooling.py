"""The endpoints that compute one result per prompt: embeddings, rerank and score.

Their prompts go through the same batches as all others, and yield no text.
"""

import base64
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from struct import pack
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fairlead_engine.mock.bodies.base import prompt_too_long
from fairlead_engine.mock.bodies.pooling import EmbeddingsBody, RerankBody, ScoreBody
from fairlead_engine.mock.edge import ClientDisconnectedError, promise_of, read_body, watched
from fairlead_engine.mock.embedding import DIMENSIONS, cosine, embed
from fairlead_engine.mock.engine import Engine, Generation, Job
from fairlead_engine.mock.errors import GenerationStoppedError, error_response, shutting_down
from fairlead_engine.mock.prefix import block_hashes
from fairlead_engine.mock.tokens import count_tokens


class Pooling:
    """Runs the prompts of one request through the batch loop."""

    def __init__(self, engine: Engine, handle: Callable[["PoolingRequest", bytes], Awaitable[dict[str, Any]]]) -> None:
        self._engine = engine
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a RequestError means that nothing was sent."""
        try:
            data = await read_body(receive)
            if not self._engine.accepting:
                raise shutting_down()
            document = await self._handle(PoolingRequest(self._engine, Request(scope), receive), data)
        except ClientDisconnectedError:
            return
        except GenerationStoppedError:
            await error_response(shutting_down(), scope["path"])(scope, receive, send)
            return
        await Response(orjson.dumps(document), media_type="application/json")(scope, receive, send)


class PoolingRequest:
    """One request: which model it asks, and how its prompts are computed."""

    def __init__(self, engine: Engine, request: Request, receive: Receive) -> None:
        self._engine = engine
        self._request = request
        self._receive = receive

    async def compute(self, model: str | None, texts: Sequence[str], priority: int) -> tuple[str, int]:
        """Compute the prompts; return the model's name and their tokens.

        Raises
        ------
        RequestError
            The model is unknown, or a prompt is empty or longer than the context.
        GenerationStoppedError
            The client left, or the engine stops.

        """
        engine = self._engine
        adapter = engine.models.adapter(model)
        jobs = [self._job(text, adapter) for text in texts]
        promise = promise_of(self._request, priority)
        generation = engine.submit(f"pool-{uuid.uuid4().hex[:16]}", jobs, promise)
        try:
            async with watched(engine, self._receive, generation):
                is_complete = await _completes(generation)
        finally:
            engine.abort(generation)
        if not is_complete:
            raise GenerationStoppedError
        return engine.models.shown_name(adapter), sum(job.prompt_tokens for job in jobs)

    def _job(self, text: str, adapter: str | None) -> Job:
        prompt_tokens = max(1, count_tokens(text))
        if prompt_tokens > self._engine.settings.max_model_len - 1:
            raise prompt_too_long(prompt_tokens, self._engine.settings.max_model_len)
        hashes = block_hashes(text, adapter=adapter, salt=None) if self._engine.settings.prefix_cache else ()
        return Job(prompt_tokens, block_hashes=hashes)


async def _completes(generation: Generation) -> bool:
    """Return whether all results came; an exception would leave the watch's task group inside another."""
    try:
        await generation.complete()
    except GenerationStoppedError:
        return False
    return True


async def embeddings(request: PoolingRequest, data: bytes) -> dict[str, Any]:
    """Answer POST /v1/embeddings."""
    body = EmbeddingsBody.parse(data)
    body.check()
    texts = body.texts()
    model, prompt_tokens = await request.compute(body.model, texts, body.priority)
    vectors = [embed(text, body.dimensions or DIMENSIONS) for text in texts]
    return {
        "id": f"embd-{uuid.uuid4().hex[:16]}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [
            {"index": index, "object": "embedding", "embedding": _encoded(vector, body.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "usage": _usage(prompt_tokens),
    }


async def score(request: PoolingRequest, data: bytes) -> dict[str, Any]:
    """Answer POST /score."""
    body = ScoreBody.parse(data)
    pairs = body.pairs()
    model, prompt_tokens = await request.compute(body.model, [*body.text_1, *body.text_2], body.priority)
    first, second = [embed(text) for text in body.text_1], [embed(text) for text in body.text_2]
    scores = [cosine(first[one], second[other]) for one, other in pairs]
    return {
        "id": f"score-{uuid.uuid4().hex[:16]}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [{"index": index, "object": "score", "score": value} for index, value in enumerate(scores)],
        "usage": _usage(prompt_tokens),
    }


async def rerank(request: PoolingRequest, data: bytes) -> dict[str, Any]:
    """Answer POST /rerank: the documents by their nearness to the query, nearest first."""
    body = RerankBody.parse(data)
    body.check()
    model, prompt_tokens = await request.compute(body.model, [body.query, *body.documents], body.priority)
    query = embed(body.query)
    results = [
        {
            "index": index,
            "document": {"text": document, "multi_modal": None},
            "relevance_score": cosine(query, embed(document)),
        }
        for index, document in enumerate(body.documents)
    ]
    results.sort(key=lambda result: -float(str(result["relevance_score"])))
    return {
        "id": f"score-{uuid.uuid4().hex[:16]}",
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        "results": results[: body.top_n or None],
    }


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(pack(f"<{len(vector)}f", *vector)).decode()


def _usage(prompt_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
