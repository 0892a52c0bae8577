"""Which bytes are a request, and which could be taken for different requests by two readers and are refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead_router.http1.messages import END, HeadTooLargeError, HttpError, NotImplementedInHttpError
from fairlead_router.http1.requests import RequestHead, RequestParser

POST = b"POST /x HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n"


def read(*pieces: bytes, max_head_bytes: int = 65536) -> list[object]:
    """Everything that a connection's bytes are read as: of a head method and target, body bytes joined, errors by type."""
    parser = RequestParser(max_head_bytes)
    seen: list[object] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, RequestHead):
                seen.append(f"{event.method} {event.target.decode()}")
            elif isinstance(event, HttpError):
                return [*seen, type(event)]
            elif isinstance(event, bytes) and seen and isinstance(seen[-1], bytes):
                seen[-1] += event
            else:
                seen.append(event)
    return seen


def head_of(data: bytes) -> RequestHead:
    head = RequestParser(65536).feed(data)[0]
    assert isinstance(head, RequestHead)
    return head


@pytest.mark.parametrize(
    ("fields", "body", "length"),
    [
        (b"", b"", 0),
        (b"content-length: 3\r\n", b"abc", 3),
        (b"content-length: 0\r\n", b"", 0),
        (b"content-length:3\r\n", b"abc", 3),
        (b"content-length: \t3 \r\n", b"abc", 3),
        (b"content-length: 003\r\n", b"abc", 3),
        (b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", None),
        (b"Transfer-Encoding: Chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", None),
        (b"transfer-encoding: chunked\r\n", b"003\r\nabc\r\n000\r\n\r\n", None),
        (b"transfer-encoding: chunked\r\n", b'3;name=value;quoted="v;"\r\nabc\r\n0;last\r\n\r\n', None),
        (b"transfer-encoding: chunked\r\n", b"1\r\na\r\n2\r\nbc\r\n0\r\ntrailer: ignored\r\n\r\n", None),
    ],
)
def test_a_body_ends_where_its_framing_says_and_the_next_request_begins_there(fields, body, length):
    assert head_of(POST + fields + b"\r\n").body_bytes == length
    content = [b"abc"] if body else []
    assert read(POST + fields + b"\r\n" + body + NEXT) == ["POST /x", *content, END, "GET /next", END]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param(b"content-length: 3\r\ntransfer-encoding: chunked", HttpError, id="length, then coding"),
        pytest.param(b"transfer-encoding: chunked\r\ncontent-length: 3", HttpError, id="coding, then length"),
        pytest.param(b"content-length: 3\r\ncontent-length: 4", HttpError, id="two lengths"),
        pytest.param(b"content-length: 3\r\ncontent-length: 3", HttpError, id="the same length twice"),
        pytest.param(b"content-length: 3, 3", HttpError, id="a list of lengths"),
        pytest.param(b"content-length: +3", HttpError, id="a sign"),
        pytest.param(b"content-length: -3", HttpError, id="a negative length"),
        pytest.param(b"content-length: 0x3", HttpError, id="a hexadecimal length"),
        pytest.param(b"content-length: 3 3", HttpError, id="a blank in a length"),
        pytest.param(b"content-length:", HttpError, id="no length"),
        pytest.param(b"content-length: 3\x00", HttpError, id="a length with NUL"),
        pytest.param(b"content-length: 18446744073709551616", HttpError, id="a length that overflows"),
        pytest.param(b"transfer-encoding: xchunked", NotImplementedInHttpError, id="xchunked"),
        pytest.param(b"transfer-encoding: identity", NotImplementedInHttpError, id="identity"),
        pytest.param(b"transfer-encoding: gzip, chunked", NotImplementedInHttpError, id="gzip, chunked"),
        pytest.param(b"transfer-encoding: chunked;q=1", NotImplementedInHttpError, id="chunked with a parameter"),
        pytest.param(b"transfer-encoding: chunked, identity", HttpError, id="chunked, identity"),
        pytest.param(b"transfer-encoding: chunked, chunked", HttpError, id="chunked, chunked"),
        pytest.param(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", HttpError, id="chunked twice"),
        pytest.param(b"transfer-encoding: identity\r\ntransfer-encoding: chunked", HttpError, id="two codings"),
        pytest.param(b"transfer-encoding:", HttpError, id="no coding"),
        pytest.param(b"transfer-encoding: \x0bchunked", HttpError, id="a vertical tab before the coding"),
        pytest.param(b"transfer-encoding: \x00chunked", HttpError, id="NUL before the coding"),
        pytest.param(b"transfer-encoding : chunked", HttpError, id="a blank before the colon"),
        pytest.param(b"transfer-encoding\t: chunked", HttpError, id="a tab before the colon"),
        pytest.param(b"x: a\x00b", HttpError, id="NUL"),
        pytest.param(b"x: a\x01b", HttpError, id="a control character"),
        pytest.param(b"x: a\x7fb", HttpError, id="DEL"),
        pytest.param(b"x: a\rb", HttpError, id="a bare CR"),
        pytest.param(b"x: a\ny: b", HttpError, id="a bare LF"),
        pytest.param(b"x: a\r\n b", HttpError, id="a folded line"),
        pytest.param(b"x: a\r\n\tb", HttpError, id="a line folded by a tab"),
        pytest.param(b" x: a", HttpError, id="a blank before the name"),
        pytest.param(b"x", HttpError, id="no colon"),
        pytest.param(b": a", HttpError, id="no name"),
        pytest.param(b"x(y: a", HttpError, id="a name that is no token"),
        pytest.param(b"x\xff: a", HttpError, id="a name that is not ASCII"),
        pytest.param(b"host: a", HttpError, id="host twice"),
        pytest.param(b"expect: 200-ok", NotImplementedInHttpError, id="an unknown expectation"),
    ],
)
def test_a_head_that_two_readers_could_take_for_different_ones_is_refused(fields, error):
    (refused,) = read(POST + fields + b"\r\n\r\n0\r\n\r\n" + NEXT)
    assert issubclass(refused, error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", id="HTTP/0.9, said"),
        pytest.param(b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", id="HTTP/1.2"),
        pytest.param(b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"GET / http/1.1\r\nhost: a\r\n\r\n", id="http/1.1"),
        pytest.param(b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n", id="a blank behind the version"),
        pytest.param(b"GET / x HTTP/1.1\r\nhost: a\r\n\r\n", id="a blank in the target"),
        pytest.param(b"GET /\tx HTTP/1.1\r\nhost: a\r\n\r\n", id="a tab in the target"),
        pytest.param(b"GET /\x0cx HTTP/1.1\r\nhost: a\r\n\r\n", id="a form feed in the target"),
        pytest.param(b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", id="NUL in the target"),
        pytest.param(b"GET /?\x01 HTTP/1.1\r\nhost: a\r\n\r\n", id="a control character in the query"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", id="a target that is not ASCII"),
        pytest.param(b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n", id="a tab behind the method"),
        pytest.param(b"get / HTTP/1.1\r\nhost: a\r\n\r\n", id="a method in lower case"),
        pytest.param(b"FETCH / HTTP/1.1\r\nhost: a\r\n\r\n", id="an unknown method"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\nhost: a\n\n", id="bare LF everywhere"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\n\n", id="a bare LF at the end"),
        pytest.param(b"GET / HTTP/1.1\rhost: a\r\n\r\n", id="a bare CR behind the version"),
        pytest.param(b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", id="HTTP/1.0 with a transfer coding"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", id="CONNECT"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 with prior knowledge"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01", id="TLS"),
    ],
)
def test_a_request_line_of_another_protocol_or_spelling_is_refused(data):
    (refused,) = read(data + NEXT)
    assert issubclass(refused, HttpError)


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        pytest.param(b"3\nabc\n0\n\n", [], id="bare LF everywhere"),
        pytest.param(b"3\r\nabc\n0\r\n\r\n", [b"abc"], id="a bare LF behind the data"),
        pytest.param(b"3\r\nabc\r\n0\n\n", [b"abc"], id="a bare LF behind the last size"),
        pytest.param(b"3\rXabc\r\n0\r\n\r\n", [], id="a bare CR behind the size"),
        pytest.param(b"3;a\nabc\r\n0\r\n\r\n", [], id="a bare LF in an extension"),
        pytest.param(b"3;\x00\r\nabc\r\n0\r\n\r\n", [], id="NUL in an extension"),
        pytest.param(b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n', [], id="a line break in a quoted extension"),
        pytest.param(b"3\r\nabcd\r\n0\r\n\r\n", [b"abc"], id="more data than announced"),
        pytest.param(b"3 \r\nabc\r\n0\r\n\r\n", [], id="a blank behind the size"),
        pytest.param(b" 3\r\nabc\r\n0\r\n\r\n", [], id="a blank before the size"),
        pytest.param(b"0x3\r\nabc\r\n0\r\n\r\n", [], id="0x3"),
        pytest.param(b"+3\r\nabc\r\n0\r\n\r\n", [], id="+3"),
        pytest.param(b"-3\r\nabc\r\n0\r\n\r\n", [], id="-3"),
        pytest.param(b"\r\nabc\r\n0\r\n\r\n", [], id="no size"),
        pytest.param(b"10000000000000003\r\nabc\r\n0\r\n\r\n", [], id="a size that overflows"),
        pytest.param(b"3\r\nabc\r\n0\r\nx\x00: y\r\n\r\n", [b"abc"], id="NUL in a trailer"),
        pytest.param(b"3\r\nabc\r\n0\r\nx: y\n\r\n", [b"abc"], id="a bare LF in a trailer"),
        pytest.param(b"3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n", [b"abc"], id="a length among the trailers"),
    ],
)
def test_chunks_that_two_readers_could_cut_differently_are_refused(body, passed):
    *begun, refused = read(CHUNKED + body + NEXT)
    assert begun == ["POST /x", *passed]
    assert issubclass(refused, HttpError)


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"connection: close\r\n", False),
        (b"1.1", b"connection: x, Close\r\n", False),
        (b"1.1", b"connection: keep-alive\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"connection: keep-alive\r\n", True),
    ],
)
def test_a_connection_goes_on_unless_one_of_the_two_does_not_want_it(version, fields, keep_alive):
    assert head_of(b"GET / HTTP/" + version + b"\r\nhost: a\r\n" + fields + b"\r\n").keep_alive is keep_alive


def test_nothing_is_read_behind_a_request_that_closes_the_connection():
    assert read(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + NEXT) == ["GET /", END, HttpError]


@pytest.mark.parametrize(
    ("fields", "body"),
    [(b"", b""), (b"content-length: 3\r\n", b"abc"), (b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")],
)
def test_an_offer_of_another_protocol_is_declined_and_the_request_is_read(fields, body):
    """sglang-router asks engines with such an offer, and other clients may ask the router."""
    offer = POST + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n" + fields + b"\r\n"
    content = [b"abc"] if body else []
    whole = ["POST /x", *content, END, "GET /next", END]
    assert read(offer + body + NEXT) == whole
    assert read(*(bytes([byte]) for byte in offer + body + NEXT)) == whole


@pytest.mark.parametrize("cut", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize(
    "large",
    [
        pytest.param(b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", id="the target"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 5000 + b"\r\n\r\n", id="a value"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x" * 5000 + b": x\r\n\r\n", id="a name"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: x\r\n" * 800 + b"\r\n", id="many fields"),
    ],
)
def test_a_head_that_is_too_large_is_refused_however_it_arrives(large, cut):
    pieces = [large[at : at + cut] for at in range(0, len(large), cut)]
    assert read(*pieces, max_head_bytes=4096) == [HeadTooLargeError]


def test_more_fields_than_anybody_needs_are_refused():
    fields = b"".join(b"x-%d: 1\r\n" % number for number in range(300))
    assert read(b"GET / HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n") == [HeadTooLargeError]


def test_large_heads_do_not_add_up_over_the_requests_of_a_connection():
    request = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 900 + b"\r\n\r\n"
    assert read(*[request[:500], request[500:]] * 20, max_head_bytes=1024) == ["GET /", END] * 20


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(CHUNKED + b"0\r\nx: " + b"x" * 20_000, id="a trailer"),
        pytest.param(CHUNKED + b"0\r\n" + b"x: y\r\n" * 4000, id="trailers"),
        pytest.param(CHUNKED + b"3;" + b"x" * 20_000, id="a chunk extension"),
        pytest.param(CHUNKED + b"0" * 20_000, id="a chunk size"),
        pytest.param(POST + b"x: " + b"x" * 20_000, id="a value"),
        pytest.param(POST + b"x: y\r\n" * 4000, id="fields"),
        pytest.param(b"GET /" + b"x" * 20_000, id="a target"),
    ],
)
def test_what_never_ends_and_is_no_body_is_refused(endless):
    """The body has a limit of its own; whatever else a message consists of has that of a head."""
    seen = read(*(endless[at : at + 1000] for at in range(0, len(endless), 1000)), max_head_bytes=4096)
    assert issubclass(seen[-1], HttpError)


VALID = st.sampled_from(
    [
        NEXT,
        b"GET http://a/b HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        POST + b"content-length: 3\r\n\r\nabc",
        CHUNKED + b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nx: y\r\n\r\n",
        POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n\r\nabc",
        POST + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
        b"\r\n",
    ]
)


@given(st.lists(VALID, max_size=4), st.binary(max_size=6), st.lists(st.integers(0, 600), max_size=12))
@example([CHUNKED + b"0\r\n\r\n", NEXT], b"", list(range(200)))
def test_requests_are_read_the_same_however_they_are_cut(messages, garbage, cuts):
    data = b"".join(messages) + garbage
    whole = read(data)
    ends = sorted({cut for cut in cuts if cut < len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert read(*pieces) == whole
    assert read(*(bytes([byte]) for byte in data)) == whole
