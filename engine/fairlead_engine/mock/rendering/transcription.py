"""Bodies of /v1/audio/transcriptions."""

import math
from collections.abc import Sequence
from typing import Any

import orjson

from fairlead_engine.mock.bodies.transcription import TranscriptionBody
from fairlead_engine.mock.generation import Answer
from fairlead_engine.mock.rendering.openai import stream_usage
from fairlead_engine.mock.rendering.writer import DONE, Head, Usage


class TranscriptionWriter:
    """One transcript: a stream of chunks, or a whole body."""

    def __init__(
        self, head: Head, body: TranscriptionBody, answers: Sequence[Answer], _prompt_tokens: Sequence[int]
    ) -> None:
        self._body = body
        self._answer = answers[0]
        shared: dict[str, Any] = {"id": head.response_id, "object": "transcription.chunk"}
        shared |= {"created": head.created_unix_seconds, "model": head.model}
        self._open = b"data: " + orjson.dumps(shared)[:-1] + b',"choices":['

    def opening(self) -> bytes:
        """Return nothing: the first token opens a transcript."""
        return b""

    def token(self, _choice: int, text: str, sent_tokens: int) -> bytes:
        """Return the chunk of one token."""
        choice: dict[str, Any] = {"delta": {"content": text}, "finish_reason": None, "stop_reason": None}
        if sent_tokens == self._answer.tokens:
            choice["finish_reason"] = self._answer.finish_reason
        return self._open + orjson.dumps(choice) + b"]}\n\n"

    def closing(self, usage: Usage) -> bytes:
        """Return the chunk that `stream_include_usage` asks for, and the end mark."""
        if not self._body.stream_include_usage:
            return DONE
        return self._open + b'],"usage":' + orjson.dumps(stream_usage(usage)) + b"}\n\n" + DONE

    def whole(self, _usage: Usage) -> bytes:
        """Return the body of a transcript that is not streamed."""
        text, seconds = self._answer.text(), self._body.audio_seconds
        if self._body.response_format == "verbose_json":
            return orjson.dumps(self._verbose(text, seconds))
        # As vLLM, which answers with JSON also where text is asked for.
        return orjson.dumps({"text": text, "usage": {"type": "duration", "seconds": math.ceil(seconds)}})

    def _verbose(self, text: str, seconds: float) -> dict[str, Any]:
        segment = {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": seconds,
            "text": text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": -math.log(2),
            "compression_ratio": 1.0,
            "no_speech_prob": None,
        }
        language = self._body.language or "en"
        return {"duration": seconds, "language": language, "text": text, "segments": [segment], "words": None}
