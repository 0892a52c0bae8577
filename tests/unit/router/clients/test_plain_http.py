"""What has no client library, or none of ours: pooling, tokens, paths that the router does not know."""

import io
import json
from typing import Any

import aiohttp
import pytest

from fairlead_router.relay.routes import ROUTES

CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
MESSAGES = {"model": "mock", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
RERANK = {"query": "rain", "documents": ["the sun", "the rain", "rain and sun"]}
SCORE = {"text_1": "rain", "text_2": ["sun", "rain"]}


def form(**fields: str) -> aiohttp.FormData:
    """A form whose boundary is always the same, so that two sendings of it are the same bytes."""
    data = aiohttp.FormData({"model": "mock", **fields}, default_to_multipart=True)
    data.add_field("file", io.BytesIO(bytes(40_000)), filename="speech.mp3", content_type="audio/mpeg")
    return data


BODIES: dict[str, Any] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "mock", "prompt": "Once"},
    "/v1/responses": {"model": "mock", "input": "Hello", "max_output_tokens": 4},
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/embeddings": {"model": "mock", "input": "a text"},
    "/v1/rerank": RERANK,
    "/rerank": {"model": "mock", **RERANK},
    "/v1/score": {"model": "mock", **SCORE},
    "/score": SCORE,
    "/tokenize": {"model": "mock", "prompt": "Hello there", "return_token_strs": True},
    "/detokenize": {"tokens": [1_819_043_144, 111]},
    "/v1/audio/transcriptions": form,
}
NOT_SERVED_BY_THE_MOCK = {"/v1/audio/translations"}
