"""The answer to a request, which its id and its length alone decide; and what has come of it at the client.

So a client knows every byte that it should get, and a stream that is whole says so by itself: nothing is left out, sent
twice, out of order or from another stream.
"""

from enum import StrEnum
from zlib import crc32

import orjson

DONE = b"data: [DONE]\n\n"


class Outcome(StrEnum):
    """How an answer ended at the client."""

    WHOLE = "whole"
    ERROR_EVENT = "error_event"
    """Cut off between two events, with one error event at its end."""
    REFUSED = "refused"
    """An error status instead of an answer."""
    BROKEN = "broken"
    """The connection ended inside the answer or before it."""
    HUNG_UP = "hung_up"
    """By the client."""
    WRONG = "wrong"
    """Ended properly and is not the answer, nor a part of it with an error event."""


def stream_events(request_id: str, tokens: int) -> list[bytes]:
    """Return the events of a streamed chat: each token says its number, and the last one the checksum of all."""
    begin = b'data: {"id":"%b","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"' % (
        request_id.encode()
    )
    events = [b'%b %d"},"finish_reason":null}]}\n\n' % (begin, number) for number in range(tokens)]
    events.append(b'%b"},"finish_reason":"stop"}],"checksum":%d}\n\n' % (begin, crc32(b"".join(events))))
    events.append(DONE)
    return events


def whole_body(request_id: str, tokens: int) -> bytes:
    """Return the body of an answer that is not streamed."""
    text = " ".join(map(str, range(tokens)))
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    return orjson.dumps({"id": request_id, "choices": [{"index": 0, "message": message}], "usage": usage})


def judge_stream(body: bytes, request_id: str, tokens: int) -> tuple[Outcome, str]:
    """Say how a stream that ended properly has ended, and the code of its error event."""
    events = stream_events(request_id, tokens)
    if body == b"".join(events):
        return Outcome.WHOLE, ""
    *received, last = body.removesuffix(b"\n\n").split(b"\n\n")
    is_part = [event + b"\n\n" for event in received] == events[: len(received)]
    code = _error_code(last)
    return (Outcome.ERROR_EVENT, code) if is_part and code else (Outcome.WRONG, "")


def judge_whole(body: bytes, request_id: str, tokens: int) -> Outcome:
    """Say how an answer that is not streamed and ended properly has ended."""
    return Outcome.WHOLE if body == whole_body(request_id, tokens) else Outcome.WRONG


def error_code(body: bytes) -> str:
    """Return the code of an error body, empty where it is none."""
    try:
        return str(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _error_code(event: bytes) -> str:
    return error_code(event.removeprefix(b"data: "))
