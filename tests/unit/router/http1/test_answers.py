"""Which bytes are an engine's answer: the same rules as for requests, because an engine may be anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.http1.answers import AnswerHead, AnswerParser
from fairlead_router.http1.messages import END, HttpError, NotImplementedInHttpError

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
WHOLE = OK + b"content-length: 3\r\n\r\nabc"


def read(*pieces: bytes, eof: bool = False) -> list[object]:
    """Everything that is read from one answer's bytes: of a head the status, body bytes joined, errors by type."""
    parser = AnswerParser()
    parser.expect()
    seen: list[object] = []
    events = (event for piece in pieces for event in parser.feed(piece))
    for event in events:
        if isinstance(event, AnswerHead):
            seen.append(event.status)
        elif isinstance(event, HttpError):
            return [*seen, type(event)]
        elif isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
            seen[-1] += event
        else:
            seen.append(event)
    if eof:
        end = parser.eof()
        seen.append(type(end) if isinstance(end, HttpError) else end)
    return seen


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        (WHOLE, 3),
        (b"HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nabc", 3),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", 3),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", None),
        (CHUNKED + b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\ntrailer: ignored\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE, 3),
    ],
)
def test_a_body_ends_where_its_framing_says(answer, length):
    parser = AnswerParser()
    parser.expect()
    head, *_ = parser.feed(answer)
    assert (head.status, head.length) == (200, length)
    assert read(answer) == [200, b"abc", END]


@pytest.mark.parametrize(
    ("status", "fields"), [(b"204", b""), (b"204", b"content-length: 3\r\n"), (b"304", b"content-length: 3\r\n")]
)
def test_some_statuses_have_no_body_whatever_their_head_says(status, fields):
    assert read(b"HTTP/1.1 " + status + b" X\r\n" + fields + b"\r\n") == [int(status), END]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_without_framing_ends_with_its_connection(version):
    assert read(b"HTTP/" + version + b" 200 OK\r\n\r\nabc", eof=True) == [200, b"abc", END]


@pytest.mark.parametrize(
    "cut_off",
    [b"", b"HTTP/1.1 200", OK + b"content-length: 3\r\n\r\nab", CHUNKED + b"3\r\nabc\r\n", CHUNKED + b"3\r\nab"],
)
def test_the_end_of_the_connection_ends_no_other_body(cut_off):
    assert read(cut_off, eof=True)[-1] is HttpError


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"content-length: 3\r\ntransfer-encoding: chunked", id="length, then coding"),
        pytest.param(b"transfer-encoding: chunked\r\ncontent-length: 3", id="coding, then length"),
        pytest.param(b"content-length: 3\r\ncontent-length: 4", id="two lengths"),
        pytest.param(b"content-length: 3\r\ncontent-length: 3", id="the same length twice"),
        pytest.param(b"content-length: 3, 3", id="a list of lengths"),
        pytest.param(b"content-length: +3", id="a sign"),
        pytest.param(b"content-length: 18446744073709551616", id="a length that overflows"),
        pytest.param(b"transfer-encoding: gzip, chunked", id="gzip, chunked"),
        pytest.param(b"transfer-encoding: chunked, identity", id="chunked, identity"),
        pytest.param(b"transfer-encoding: identity", id="identity"),
        pytest.param(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", id="chunked twice"),
        pytest.param(b"x: a\r\n b", id="a folded line"),
        pytest.param(b"x: a\ny: b", id="a bare LF"),
        pytest.param(b"x: a\rb", id="a bare CR"),
        pytest.param(b"x: a\x00b", id="NUL"),
        pytest.param(b"x : a", id="a blank before the colon"),
    ],
)
def test_a_head_that_two_readers_could_take_for_different_ones_is_refused(fields):
    (refused,) = read(OK + fields + b"\r\n\r\nabc")
    assert issubclass(refused, HttpError)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n", id="HTTP/1.2"),
        pytest.param(b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="HTTP/1.0, chunked"),
        pytest.param(b"HTTP/1.1 042 X\r\ncontent-length: 3\r\n\r\nabc", id="a status below 100"),
        pytest.param(b"HTTP/1.1 600 X\r\ncontent-length: 3\r\n\r\nabc", id="a status above 599"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="a status of two digits"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="a status of four digits"),
        pytest.param(b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", id="bare LF"),
        pytest.param(b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 101 X\r\n\r\n" + WHOLE, id="another protocol, not named"),
        pytest.param(b"RTSP/2.0 200 OK\r\n\r\n", id="RTSP"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="SSH"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x46", id="a TLS alert"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="a request"),
    ],
)
def test_what_is_no_answer_is_refused(answer):
    (refused,) = read(answer)
    assert issubclass(refused, HttpError)


@pytest.mark.parametrize("rest", [WHOLE, b"d", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_what_comes_behind_an_answer_that_nobody_asked_for_is_refused(rest):
    assert read(WHOLE + rest) == [200, b"abc", END, HttpError]


def test_a_coding_that_is_not_spoken_is_told_from_bytes_that_are_no_http():
    assert read(OK + b"transfer-encoding: br\r\n\r\n") == [NotImplementedInHttpError]


@pytest.mark.parametrize(
    ("answer", "keep_alive"),
    [
        (WHOLE, True),
        (CHUNKED + b"0\r\n\r\n", True),
        (OK + b"connection: close\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
    ],
)
def test_whether_the_connection_goes_on_is_known_when_the_answer_has_ended(answer, keep_alive):
    """Read at any other moment it is false, every connection is thrown away, and throughput falls to a fifth."""
    parser = AnswerParser()
    parser.expect()
    parser.feed(answer)
    assert parser.keep_alive is keep_alive


def test_one_connection_carries_many_answers():
    parser = AnswerParser()
    for _ in range(3):
        parser.expect()
        _, body, end = parser.feed(WHOLE)
        assert (body, end, parser.keep_alive) == (b"abc", END, True)


def test_the_pieces_of_a_body_that_one_read_brings_are_one():
    parser = AnswerParser()
    parser.expect()
    assert parser.feed(CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")[1:] == [b"abc", END]


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(OK + b"x: " + b"x" * 200_000, id="a value"),
        pytest.param(OK + b"x: y\r\n" * 40_000, id="fields"),
        pytest.param(b"HTTP/1.1 200 " + b"x" * 200_000, id="a reason"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 6000, id="interim answers"),
        pytest.param(CHUNKED + b"0\r\nx: " + b"x" * 200_000, id="a trailer"),
        pytest.param(CHUNKED + b"0\r\n" + b"x: y\r\n" * 40_000, id="trailers"),
        pytest.param(CHUNKED + b"3;" + b"x" * 200_000, id="a chunk extension"),
        pytest.param(CHUNKED + b"0" * 200_000, id="a chunk size"),
    ],
)
def test_what_never_ends_and_is_no_body_is_refused(endless):
    seen = read(*(endless[at : at + 5000] for at in range(0, len(endless), 5000)))
    assert issubclass(seen[-1], HttpError)


VALID = st.sampled_from(
    [
        WHOLE,
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        CHUNKED + b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.0 500 X\r\n\r\nabc",
    ]
)


@given(VALID, st.binary(max_size=6), st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_an_answer_is_read_the_same_however_it_is_cut(answer, garbage, cuts, eof):
    data = answer + garbage
    whole = read(data, eof=eof)
    ends = sorted({cut for cut in cuts if cut < len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert read(*pieces, eof=eof) == whole
    assert read(*(bytes([byte]) for byte in data), eof=eof) == whole
