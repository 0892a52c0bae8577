"""The generating endpoints as raw ASGI: nothing stands between the batch loop and the socket but this module.

A request ends in one of four ways: its answer is complete; its client hangs up, which aborts it in the batch loop at
once; the engine stops, which closes a stream without its end mark as a lost engine would; or it was refused.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fairlead_engine.mock.bodies.base import GenerationBody
from fairlead_engine.mock.edge import ClientDisconnectedError, promise_of, read_body, watched
from fairlead_engine.mock.engine import Engine, Generation, Job
from fairlead_engine.mock.errors import GenerationStoppedError, error_response, shutting_down
from fairlead_engine.mock.generation import Answer, Sampling, answer_seed, plan_answer, plan_call
from fairlead_engine.mock.prefix import block_hashes
from fairlead_engine.mock.rendering.writer import Head, Usage, Writer
from fairlead_engine.mock.tokens import count_tokens
from fairlead_engine.mock.tool_calls import arguments_text

_STREAM_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


@dataclass(frozen=True, slots=True)
class Api:
    """One generating API: how it reads a body, and how it writes answers."""

    id_prefix: str
    read: Callable[[Request, bytes], GenerationBody]
    writer: Callable[[Head, Any, Sequence[Answer], Sequence[int]], Writer]


class Generate:
    """One generating endpoint."""

    def __init__(self, engine: Engine, api: Api) -> None:
        self._engine = engine
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a RequestError means that nothing was sent."""
        try:
            data = await read_body(receive)
        except ClientDisconnectedError:
            return
        request = Request(scope)
        body = self._api.read(request, data)
        if not self._engine.accepting:
            raise shutting_down()
        adapter = self._engine.models.adapter(body.model)
        body.check()
        prompts = body.prompt_texts()
        jobs = self._jobs(body, prompts, adapter)
        head = Head(
            response_id=self._api.id_prefix + uuid.uuid4().hex[:16],
            created_unix_seconds=int(time.time()),
            model=self._engine.models.shown_name(adapter),
        )
        answers = [job.answer for job in jobs if job.answer is not None]
        writer = self._api.writer(head, body, answers, [job.prompt_tokens for job in jobs])
        generation = self._engine.submit(head.response_id, jobs, promise_of(request, body.priority))
        answering = _Answering(
            generation, writer, choices=body.choices, counts_cached=self._engine.settings.prefix_cache
        )
        try:
            async with watched(self._engine, receive, generation):
                if body.stream:
                    await answering.stream(send)
                else:
                    response = await answering.whole(scope["path"])
                    await response(scope, receive, send)
        finally:
            self._engine.abort(generation)

    def _jobs(self, body: GenerationBody, prompts: list[str], adapter: str | None) -> list[Job]:
        """Plan every answer: those of the first prompt, then those of the next."""
        jobs: list[Job] = []
        for prompt in prompts:
            prompt_tokens = count_tokens(prompt)
            sampling = body.sampling(prompt_tokens=prompt_tokens, max_model_len=self._engine.settings.max_model_len)
            for choice in range(body.choices):
                answer = _plan(body, answer_seed(prompt, body.seed, choice), sampling)
                hashes: tuple[int, ...] = ()
                if self._engine.settings.prefix_cache:
                    hashes = block_hashes(prompt + "".join(answer.pieces()), adapter=adapter, salt=body.cache_salt)
                jobs.append(Job(prompt_tokens, answer, hashes))
        return jobs


def _plan(body: GenerationBody, seed: int, sampling: Sampling) -> Answer:
    tool = body.forced_tool
    if tool is None:
        return plan_answer(seed, sampling)
    return plan_call(seed, tool.name, arguments_text(tool.parameters, seed), sampling.max_tokens)


class _Answering:
    """One request on its way to being answered."""

    def __init__(self, generation: Generation, writer: Writer, *, choices: int, counts_cached: bool) -> None:
        self._generation = generation
        self._writer = writer
        self._choices = choices
        self._counts_cached = counts_cached

    async def stream(self, send: Send) -> None:
        """Send a chunk per token as the batch loop makes them."""
        await send(_STREAM_START)
        jobs = self._generation.jobs
        deltas = [job.answer.deltas() for job in jobs if job.answer is not None]
        sent_tokens = [0] * len(jobs)
        left_tokens = sum(job.output_tokens for job in jobs)
        # As vLLM: what opens an answer comes with its first token, not before it.
        chunks = [self._writer.opening()]
        while left_tokens:
            try:
                arrived = await self._generation.take()
            except GenerationStoppedError:
                return
            for choice in arrived:
                sent_tokens[choice] += 1
                chunks.append(self._writer.token(choice, next(deltas[choice]), sent_tokens[choice]))
            left_tokens -= len(arrived)
            if not left_tokens:
                chunks.append(self._writer.closing(self._usage()))
            await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": left_tokens > 0})
            chunks = []

    async def whole(self, path: str) -> Response:
        """Wait for every token and return the response, which is an error (503) when the engine stops before."""
        try:
            await self._generation.complete()
        except GenerationStoppedError:
            return error_response(shutting_down(), path)
        return Response(self._writer.whole(self._usage()), media_type="application/json")

    def _usage(self) -> Usage:
        """Return the usage: every prompt counts once, however many answers it has."""
        jobs, cached_tokens = self._generation.jobs, self._generation.cached_tokens
        return Usage(
            prompt_tokens=sum(job.prompt_tokens for job in jobs[:: self._choices]),
            completion_tokens=sum(job.generated_tokens for job in jobs),
            cached_tokens=sum(cached_tokens[:: self._choices]) if self._counts_cached else None,
        )
