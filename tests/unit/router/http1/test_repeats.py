"""Heads that repeat an earlier one of their connection: whatever is taken past a parser it would have read as the same."""

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead_router.http1.answers import AnswerHead, AnswerParser
from fairlead_router.http1.messages import END
from fairlead_router.http1.repeats import Repeats
from fairlead_router.http1.requests import RequestHead, RequestParser

POST = b"POST /x HTTP/1.1\r\nhost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
MOST_HEAD_BYTES = 200

bodies = st.sampled_from([b"", b"a", b"\r\n", b"0123456789", b"x" * 150, POST])
spellings = st.sampled_from(["%d"] * 40 + ["0%d", "+%d", " %d", "%d ", "0x%d", "00000000000%d", "9%d"])
"""Of a length."""


def mostly(usual: bytes, *others: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([usual] * 5 * len(others) + [*others])


@st.composite
def conversations(draw, heads: st.SearchStrategy[bytes]) -> list[list[bytes]]:
    """Reads of messages on one connection, whose heads are of one or two kinds; `LENGTH` in a head is the body's."""
    kinds = draw(st.lists(heads, min_size=1, max_size=2))
    messages = []
    for _ in range(draw(st.integers(1, 6))):
        body, kind = draw(bodies), draw(st.sampled_from(kinds))
        length = draw(spellings) % len(body)
        messages.append(kind.replace(b"LENGTH", length.encode()) + b"\r\n" + (body if b"LENGTH" in kind else b""))
    cuts = draw(st.just([]) | st.lists(st.integers(0, 400), max_size=4))
    return [pieces_of(message, cuts) for message in messages]


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


request_heads = st.tuples(
    mostly(POST, b"\r\n" + POST, b"GET /y HTTP/1.1\r\nhost: b\r\n", b"POST /x HTTP/1.0\r\n"),
    mostly(b"", b"x: y\r\n", b"x: y\n", b"x: " + b"y" * 150 + b"\r\n", b"host: c\r\n"),
    mostly(b"content-length: LENGTH\r\n", b"Content-Length:LENGTH\r\n", b"x-content-length: LENGTH\r\n", b""),
    mostly(
        b"",
        b"connection: close\r\n",
        b"connection: keep-alive\r\n",
        b"transfer-encoding: chunked\r\n",
        b"expect: 100-continue\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n",
    ),
).map(b"".join)

answer_heads = st.tuples(
    mostly(OK, b"HTTP/1.1 500 No\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.1 100 Go\r\n\r\n" + OK),
    mostly(b"date: now\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n"),
    mostly(b"content-length: LENGTH\r\n", b"transfer-encoding: chunked\r\n", b""),
).map(b"".join)


class Told(NamedTuple):
    """What a head says."""

    line: object
    fields: list[tuple[bytes, bytes]]
    length: int | None


def seen_by(parser: RequestParser, pieces: list[bytes]) -> list[object]:
    """Everything that is read, body bytes joined; an error is the last."""
    seen: list[object] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, RequestHead):
                line = (event.method, event.target, event.version, event.keep_alive, event.expects_continue)
                seen.append(Told(line, event.headers, event.body_bytes))
            elif isinstance(event, Exception):
                return [*seen, type(event)]
            elif isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
                seen[-1] += event
            else:
                seen.append(event)
        seen.append(("in message", parser.in_message))
    return seen


def without_length(seen: list[object]) -> list[object]:
    """Leave the spelling of lengths out: a repeated head has its own."""
    return [
        each._replace(fields=[field for field in each.fields if field[0] != b"content-length"])
        if isinstance(each, Told)
        else each
        for each in seen
    ]


@given(conversations(request_heads), st.booleans())
@example([[POST + b"content-length: 1\r\n\r\na"], [POST + b"content-length: 10\r\n\r\n0123456789"]], True)
@example([[POST + b"content-length: 1\r\n\r\na"]] * 3, True)
@example([[POST + b"content-length: 2\r\n\r\naa"], [POST + b"content-length: 2\r\n\r\na", b"a"]], False)
@example([[POST + b"content-length: 1\r\n\r\na"], [POST + b"content-length: 00000000001\r\n\r\na"]], False)
def test_requests_are_read_as_without_recognition(messages, ahead):
    reads = [piece for pieces in messages for piece in pieces]
    if ahead:  # all that follows the first is sent at once
        reads = [*messages[0], b"".join(reads[len(messages[0]) :])]
    plain = RequestParser(MOST_HEAD_BYTES)
    plain._repeats = Repeats(0)
    assert without_length(seen_by(RequestParser(MOST_HEAD_BYTES), reads)) == without_length(seen_by(plain, reads))


def answered(parser: AnswerParser, exchanges: list[list[bytes]]) -> list[object]:
    seen: list[object] = []
    for pieces in exchanges:
        parser.expect()
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, AnswerHead):
                    seen.append(Told(event.status, event.headers, event.length))
                elif isinstance(event, Exception):
                    return [*seen, type(event)]
                else:
                    seen.append(event)
            seen.append((parser.keep_alive, parser.between_chunks))
        seen.append(parser.eof() is END)
        if not parser.keep_alive:
            break
    return seen


@given(conversations(answer_heads))
@example([[OK + b"content-length: 1\r\n\r\na"]] * 3)
def test_answers_are_read_as_without_recognition(exchanges):
    plain = AnswerParser()
    plain._repeats = Repeats(0)
    assert without_length(answered(AnswerParser(), exchanges)) == without_length(answered(plain, exchanges))


def heads(*messages: bytes) -> list[RequestHead]:
    parser = RequestParser(MOST_HEAD_BYTES)
    return [event for message in messages for event in parser.feed(message) if isinstance(event, RequestHead)]


def test_a_head_that_repeats_another_shares_what_was_worked_out_from_it():
    first, second = heads(*[POST + b"content-length: 1\r\n\r\na"] * 2)
    first.derived["known"] = "once"
    assert second.derived["known"] == "once"


def test_another_length_makes_another_head_with_that_length():
    first, second = heads(POST + b"Content-Length: 1\r\n\r\na", POST + b"Content-Length: 12\r\n\r\n" + b"b" * 12)
    assert (first.body_bytes, second.body_bytes) == (1, 12)
    assert second.first[b"content-length"] == b"12"
    assert second.derived is first.derived


@pytest.mark.parametrize("field", [b"x: 2\r\n", b"authorization: Bearer another\r\n"])
def test_any_other_field_makes_another_head(field):
    first, second = heads(POST + b"x: 1\r\ncontent-length: 1\r\n\r\na", POST + field + b"content-length: 1\r\n\r\na")
    assert second.derived is not first.derived


def test_a_client_that_never_repeats_itself_is_soon_not_learnt_from_any_more():
    parser = RequestParser(MOST_HEAD_BYTES)
    for number in range(20):
        parser.feed(POST + b"x: %d\r\ncontent-length: 1\r\n\r\na" % number)
    again = POST + b"x: 19\r\ncontent-length: 1\r\n\r\na"
    (one, *_), (other, *_) = parser.feed(again), parser.feed(again)
    assert one.derived is not other.derived
