"""Form of /v1/audio/transcriptions.

The mock hears nothing: what it writes down depends on the bytes of the recording, and has as many words as somebody
says in its time.
"""

import io
import math
import wave
from hashlib import blake2b
from typing import Any, Literal

from fairlead_engine.mock.bodies.base import GenerationBody
from fairlead_engine.mock.errors import bad_request
from fairlead_engine.mock.generation import Sampling
from fairlead_engine.mock.multipart import Part

TOKENS_PER_SECOND = 3
"""About 150 spoken words a minute, and a little more than a token per word."""
AUDIO_TOKENS_PER_SECOND = 50
"""Positions of Whisper's encoder: 1500 for 30 seconds (Radford et al., arXiv 2212.04356)."""
BYTES_PER_SECOND = 16_000
"""Of a recording whose format is not read: 128 kbit/s."""


class TranscriptionBody(GenerationBody):
    """Fields of the form, and what is known of the recording."""

    response_format: Literal["json", "text", "verbose_json"] = "json"
    language: str | None = None
    prompt: str = ""
    max_completion_tokens: int | None = None
    stream_include_usage: bool = False
    audio_seconds: float
    audio_digest: str

    @classmethod
    def of_form(cls, parts: dict[str, Part]) -> "TranscriptionBody":
        """Read a form; RequestError (400) where a field is missing or wrong."""
        file = parts.get("file")
        if file is None or file.filename is None:
            raise bad_request("The form must have a recording in `file`.", param="file")
        fields: dict[str, Any] = {
            name: part.data.decode("utf-8", "replace") for name, part in parts.items() if part.filename is None
        }
        digest = blake2b(file.data, digest_size=16).hexdigest()
        return cls.of({**fields, "audio_seconds": audio_seconds(file.data), "audio_digest": digest})

    def prompt_texts(self) -> list[str]:
        """Return a text of as many tokens as the engine makes of the recording, and the prompt."""
        audio_tokens = math.ceil(self.audio_seconds * AUDIO_TOKENS_PER_SECOND)
        return [f"{self.audio_digest:{4 * max(8, audio_tokens)}}{self.prompt}"]

    def requested_tokens(self) -> tuple[str, int | None]:
        """Return the name of the field that bounds the output, and its value."""
        return "max_completion_tokens", self.max_completion_tokens

    def check(self) -> None:
        """Refuse (RequestError, 400) what cannot be streamed."""
        if self.stream and self.response_format == "verbose_json":
            raise bad_request("verbose_json cannot be streamed.", param="response_format")
        if self.stream_include_usage and not self.stream:
            raise bad_request("Stream options can only be defined when `stream=True`.", param="stream_include_usage")

    def sampling(self, *, prompt_tokens: int, max_model_len: int) -> Sampling:
        """Return the bounds of the transcript: as many tokens as are spoken, or fewer where the request says so."""
        bounds = super().sampling(prompt_tokens=prompt_tokens, max_model_len=max_model_len)
        spoken_tokens = max(1, round(self.audio_seconds * TOKENS_PER_SECOND))
        if spoken_tokens > bounds.max_tokens:
            return bounds
        return Sampling(bounds.max_tokens, bounds.min_tokens, exact_tokens=spoken_tokens)


def audio_seconds(data: bytes) -> float:
    """Return how long a recording is: exactly for WAV, else by its size."""
    if data[:4] == b"RIFF":
        try:
            with wave.open(io.BytesIO(data)) as recording:
                return float(recording.getnframes() / recording.getframerate())
        except (wave.Error, EOFError) as error:
            raise bad_request(f"Invalid or unsupported audio file: {error}.", param="file") from error
    return len(data) / BYTES_PER_SECOND
