"""Transcriptions: a form with a recording in it."""

import io
import json
import wave
from typing import Any

import aiohttp
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.mock.errors import RequestError
from fairlead_engine.mock.multipart import Part, parse_form

PATH = "/v1/audio/transcriptions"


def recording(seconds: float, level: int = 1) -> bytes:
    """A WAV file: 16 kHz, mono, 16 bit."""
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(bytes([level, 0]) * int(16_000 * seconds))
    return file.getvalue()


def form(file: bytes | None, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData({"model": "mock", **fields}, default_to_multipart=True)
    if file is not None:
        data.add_field("file", io.BytesIO(file), filename="speech.wav", content_type="audio/wav")
    return data


async def post(mock: Any, file: bytes | None, **fields: str) -> tuple[int, dict[str, Any]]:
    async with mock.session() as session, session.post(PATH, data=form(file, **fields)) as response:
        return response.status, await response.json()


async def test_the_openai_client_gets_as_many_words_as_somebody_says_in_the_time(mock: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="unused", timeout=10) as api:
        transcript = await api.audio.transcriptions.create(model="mock", file=("a.wav", recording(4.2)))
    assert len(transcript.text.split()) == 13
    assert transcript.usage is not None
    assert (transcript.usage.type, transcript.usage.seconds) == ("duration", 5)


async def test_the_same_recording_gets_the_same_words_and_another_one_others(mock: Any) -> None:
    texts = [(await post(mock, recording(2, level)))[1]["text"] for level in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


async def test_a_stream_has_a_chunk_per_token_and_ends_with_done(mock: Any) -> None:
    _, whole = await post(mock, recording(3))
    async with mock.session() as session:
        fields = form(recording(3), stream="true", stream_include_usage="true")
        async with session.post(PATH, data=fields) as response:
            assert response.content_type == "text/event-stream"
            lines = (await response.read()).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"transcription.chunk"}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]) == whole["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 8 + ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == 9


async def test_verbose_json_says_how_long_the_recording_is(mock: Any) -> None:
    _, transcript = await post(mock, recording(2), response_format="verbose_json", language="de")
    assert (transcript["duration"], transcript["language"]) == (2.0, "de")
    assert transcript["segments"][0]["text"] == transcript["text"]


async def test_max_completion_tokens_cut_a_transcript(mock: Any) -> None:
    _, transcript = await post(mock, recording(10), max_completion_tokens="4")
    assert len(transcript["text"].split()) == 4


async def test_a_recording_that_is_no_wav_is_as_long_as_its_size_says(mock: Any) -> None:
    _, transcript = await post(mock, bytes(range(256)) * 125)
    assert transcript["usage"]["seconds"] == 2


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (None, {}, "must have a recording in `file`"),
        (b"RIFF nonsense", {}, "Invalid or unsupported audio file"),
        (recording(1), {"response_format": "srt"}, "'json', 'text' or 'verbose_json'"),
        (recording(1), {"response_format": "verbose_json", "stream": "true"}, "cannot be streamed"),
        (recording(1), {"stream_include_usage": "true"}, "`stream=True`"),
        (recording(1), {"max_completion_tokens": "many"}, "valid integer"),
        (recording(50), {}, "maximum context length is 2048"),
    ],
)
async def test_a_wrong_form_is_refused(mock: Any, file: bytes | None, fields: dict[str, str], message: str) -> None:
    status, answer = await post(mock, file, **fields)
    assert status == 400
    assert message in answer["error"]["message"]


async def test_json_is_no_form(mock: Any) -> None:
    status, answer = await mock.post(PATH, {"file": "x"})
    assert status == 400
    assert "must be multipart/form-data" in answer["error"]["message"]


def encoded(parts: dict[str, Part], boundary: str) -> bytes:
    lines = b""
    for name, part in parts.items():
        file = "" if part.filename is None else f'; filename="{part.filename}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\nContent-Type: x/y\r\n\r\n'
        lines += head.encode() + part.data + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode()


NAMES = st.text("abc_[]", min_size=1, max_size=5)


@given(st.dictionaries(NAMES, st.builds(Part, st.binary(max_size=200), st.none() | NAMES), min_size=1, max_size=4))
def test_a_form_is_read_as_it_was_written(parts: dict[str, Part]) -> None:
    boundary = "----boundary1234567890"
    assert parse_form(f'multipart/form-data; boundary="{boundary}"', encoded(parts, boundary)) == parts


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("", b"", "must be multipart/form-data"),
        ("multipart/form-data", b"--x--", "with a boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n", "the body is cut"),
        ("multipart/form-data; boundary=x", b"", "the body is cut"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\ndata\r\n--x--", "has no name"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="a"\r\n--x--', "has no name"),
    ],
)
def test_a_form_that_is_broken_is_refused(content_type: str, body: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_form(content_type, body)
