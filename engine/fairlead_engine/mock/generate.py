"""The generating endpoints as raw ASGI: nothing stands between the batch loop and the socket but this module.

A request ends in one of four ways: its answer is complete; its client hangs up, which aborts it in the batch loop at
once; the engine stops, which closes a stream without `[DONE]` as a lost engine would; or it was refused.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fairlead_engine.mock import rendering
from fairlead_engine.mock.engine import Engine, Generation, Job
from fairlead_engine.mock.errors import GenerationStoppedError, RequestError, model_not_found, shutting_down
from fairlead_engine.mock.generation import answer_seed, plan_answer
from fairlead_engine.mock.protocol import ChatBody, CompletionBody, GenerationBody, StreamOptions
from fairlead_engine.mock.rendering import Api, Head
from fairlead_engine.mock.tokens import count_tokens

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Larger than any prompt that fits a context of a million tokens."""

_STREAM_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


class ClientDisconnectedError(Exception):
    """The client left before its request was complete."""


class Generate:
    """One generating endpoint."""

    def __init__(self, engine: Engine, api: Api) -> None:
        self._engine = engine
        self._api = api
        self._body: type[GenerationBody] = ChatBody if api is Api.CHAT else CompletionBody

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a RequestError means that nothing was sent."""
        try:
            data = await read_body(receive)
        except ClientDisconnectedError:
            return
        body = self._body.parse(data)
        if not self._engine.accepting:
            raise shutting_down()
        require_model(self._engine, body.model)
        body.check()
        head = Head(
            response_id=self._api.value.id_prefix + uuid.uuid4().hex[:16],
            created_unix_seconds=int(time.time()),
            model=self._engine.settings.served_model_names[0],
        )
        jobs, prompt_tokens = self._jobs(body)
        generation = self._engine.submit(head.response_id, jobs)
        try:
            async with self._watched(receive, generation):
                if body.stream:
                    options = body.stream_options or StreamOptions()
                    await _send_stream(send, self._api, head, generation, options, prompt_tokens)
                else:
                    response = await _whole_response(self._api, head, generation, prompt_tokens)
                    await response(scope, receive, send)
        finally:
            self._engine.abort(generation)

    def _jobs(self, body: GenerationBody) -> tuple[list[Job], int]:
        """Plan every answer; return them with the tokens of all prompts."""
        jobs: list[Job] = []
        all_prompt_tokens = 0
        for prompt in body.prompt_texts():
            prompt_tokens = count_tokens(prompt)
            sampling = body.sampling(prompt_tokens=prompt_tokens, max_model_len=self._engine.settings.max_model_len)
            all_prompt_tokens += prompt_tokens
            for choice in range(body.choices):
                seed = answer_seed(prompt, body.seed, choice)
                jobs.append(Job(prompt_tokens, plan_answer(seed, sampling)))
        return jobs, all_prompt_tokens

    @asynccontextmanager
    async def _watched(self, receive: Receive, generation: Generation) -> AsyncIterator[None]:
        """Abort the generation as soon as the client hangs up."""

        async def abort_on_disconnect() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._engine.abort(generation)

        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(abort_on_disconnect())
            yield
            watch.cancel()


def require_model(engine: Engine, model: str | None) -> None:
    """Refuse (RequestError, 404) a model that is not served; no model means the one that is."""
    names = engine.settings.served_model_names
    if model is not None and model not in names:
        raise model_not_found(model, names)


async def read_body(receive: Receive) -> bytes:
    """Return the request's body.

    Raises
    ------
    ClientDisconnectedError
        The client left before it was complete.
    RequestError
        It is larger than MAX_BODY_BYTES (413).

    """
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        data += message.get("body", b"")
        if len(data) > MAX_BODY_BYTES:
            raise RequestError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", kind="BadRequestError")
        if not message.get("more_body", False):
            return bytes(data)


async def _send_stream(
    send: Send, api: Api, head: Head, generation: Generation, options: StreamOptions, prompt_tokens: int
) -> None:
    """Send a chunk per token as the batch loop makes them."""
    await send(_STREAM_START)
    continuous_usage = bool(options.include_usage and options.continuous_usage_stats)
    stream = rendering.Stream(api, head, continuous_usage=continuous_usage)
    jobs = generation.jobs
    deltas = [job.answer.deltas() for job in jobs]
    sent_tokens = [0] * len(jobs)
    left_tokens = sum(job.answer.tokens for job in jobs)
    # As vLLM: the chunks that open a chat's choices come with the first token, not before it.
    chunks = [stream.role(i, prompt_tokens=job.prompt_tokens) for i, job in enumerate(jobs)] if api is Api.CHAT else []
    while left_tokens:
        try:
            arrived = await generation.take()
        except GenerationStoppedError:
            return
        for choice in arrived:
            job = jobs[choice]
            sent_tokens[choice] += 1
            chunks.append(
                stream.token(
                    choice,
                    next(deltas[choice]),
                    end=job.answer if sent_tokens[choice] == job.answer.tokens else None,
                    prompt_tokens=job.prompt_tokens,
                    completion_tokens=sent_tokens[choice],
                )
            )
        left_tokens -= len(arrived)
        if not left_tokens:
            if options.include_usage:
                chunks.append(stream.final_usage(prompt_tokens, sum(sent_tokens)))
            chunks.append(rendering.DONE)
        await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": left_tokens > 0})
        chunks = []


async def _whole_response(api: Api, head: Head, generation: Generation, prompt_tokens: int) -> Response:
    """Wait for every token and return the response, which is an error (503) when the engine stops before."""
    left_tokens = sum(job.answer.tokens for job in generation.jobs)
    try:
        while left_tokens:
            left_tokens -= len(await generation.take())
    except GenerationStoppedError:
        return error_response(shutting_down())
    answers = [job.answer for job in generation.jobs]
    return Response(rendering.whole(api, head, answers, prompt_tokens=prompt_tokens), media_type="application/json")


def error_response(error: RequestError) -> Response:
    """Return the response for a request that is refused."""
    return Response(orjson.dumps(error.body()), status_code=error.status, media_type="application/json")
