"""Cases for hypothesis: proper requests and answers, bent in places where parsers differ, cut anywhere."""

from hypothesis import strategies as st

from fuzzing.cases import Afterwards, Caller, Case, Farewell, Reply

_MODEL = b'{"model": "m"}'
_STREAM = b'{"model": "m", "stream": true}'
_BODIES = st.sampled_from(
    [b"", _MODEL, _STREAM, b"{}", b"{", b"[1]", b'{"model": 7}', _MODEL + b" " * 3000, b"x" * 5000, b"\xff\x00"]
)
_PATHS = st.sampled_from(
    [
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/messages",
        b"/v1/responses",
        b"/v1/audio/transcriptions",
        b"/v1/unknown",
        b"/tokenize",
        b"/v1/models",
        b"/v1/models/m%2Fn",
        b"/health",
        b"/ready",
        b"/openapi.json",
        b"/nothing",
        b"//v1/./chat/completions/",
        b"/health/%2e%2e/v1/completions?a=b",
        b"http://h/v1/completions",
        b"/..",
        b"*",
        b"/" + b"x" * 3000,
    ]
)
_METHODS = st.sampled_from([b"POST"] * 6 + [b"GET"] * 4 + [b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"PRI"])
_VERSIONS = st.sampled_from([b"HTTP/1.1"] * 9 + [b"HTTP/1.0"] * 2 + [b"HTTP/1.2", b"HTTP/0.9", b"HTTP/2.0"])
_FIELDS = st.sampled_from(
    [
        b"connection: close",
        b"connection: keep-alive",
        b"connection: x-own, keep-alive",
        b"connection: upgrade\r\nupgrade: h2c",
        b"expect: 100-continue",
        b"expect: else",
        b"x-own: 1",
        b"x-slo-class: default",
        b"x-slo-class: gold",
        b"x-request-id: r",
        b"x-request-id: two words",
        b"authorization: Bearer nobody",
        b"te: trailers",
        b"content-type: application/json",
        b"anthropic-version: 2023-06-01",
        b"accept: text/event-stream",
        b"host: other",
        b"x: " + b"y" * 1500,
        "x: ü".encode(),
    ]
)
_DUST = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\x00",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"9",
        b"f",
        b"-",
        b"\xff",
        b"0\r\n\r\n",
        b"5\r\n",
        b"content-length: 5\r\n",
        b"content-length: 0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"connection: close\r\n",
        b" folded\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\n\r\n",
        b"data: [DONE]\n\n",
        b"x" * 3000,
        b"x: y\r\n" * 300,
    ]
)


def _chunked(body: bytes, size: int, extension: bytes, trailer: bytes) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in pieces) + b"0\r\n%b\r\n" % trailer


_EXTENSIONS = st.sampled_from([b""] * 5 + [b";a", b';a="b"', b";" + b"x" * 100])
_TRAILERS = st.sampled_from([b""] * 5 + [b"x: y\r\n", b"authorization: Bearer nobody\r\n"])


@st.composite
def _framed(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> tuple[bytes, bytes]:
    """A field that frames a body, and the body as it is framed."""
    body = draw(bodies)
    if draw(st.integers(0, 3)):
        return b"content-length: %d\r\n" % len(body), body
    chunks = _chunked(body, draw(st.sampled_from([1, 7, 1000])), draw(_EXTENSIONS), draw(_TRAILERS))
    return b"transfer-encoding: chunked\r\n", chunks


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    fields = b"".join(field + b"\r\n" for field in draw(st.lists(_FIELDS, max_size=3)))
    framing, body = draw(st.one_of(st.just((b"", b"")), _framed(_BODIES)))
    line = b"%b %b %b\r\n" % (draw(_METHODS), draw(_PATHS), draw(_VERSIONS))
    return line + b"host: h\r\n" + fields + framing + b"\r\n" + body


_HOT = st.sampled_from(
    [b"/v1/chat/completions"] * 3 + [b"/v1/completions", b"/tokenize", b"/v1/responses", b"/v1/messages"]
)
_UPLOADS = st.sampled_from([b"/v1/audio/transcriptions", b"/v1/unknown"])
_COLD = st.sampled_from([b"/health", b"/ready", b"/v1/models", b"/nothing"])
_HARMLESS = st.sampled_from(
    [b"", b"", b"", b"x-own: 1\r\n", b"expect: 100-continue\r\n", b"connection: keep-alive\r\n"]
)


@st.composite
def _good_requests(draw: st.DrawFn) -> bytes:
    """Requests that an engine sees, or that the app answers: most of what is sent, so that answers are fuzzed, too."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return b"GET %b HTTP/1.1\r\nhost: h\r\n%b\r\n" % (draw(_COLD), draw(_HARMLESS))
    path = draw(_UPLOADS if kind == 1 else _HOT)
    framing, body = draw(_framed(st.sampled_from([_STREAM, _STREAM, _MODEL, _MODEL + b" " * 2000])))
    return b"POST %b HTTP/1.1\r\nhost: h\r\n%b%b\r\n%b" % (path, draw(_HARMLESS), framing, body)


def _token(text: str, finish: str = "null") -> bytes:
    return f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}, "finish_reason": {finish}}}]}}\n\n'.encode()


_EVENTS = st.lists(
    st.sampled_from(
        [
            _token("a"),
            _token("b", '"stop"'),
            b": comment\n\n",
            b"data: [DONE]\n\n",
            b'data: {"error": {"message": "of the engine"}}\n\n',
            b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n',
            b"event: message_stop\ndata: {}\r\n\r\n",
            b"data: {\n",
            b"data: " + b"x" * 5000 + b"\n\n",
        ]
    ),
    max_size=6,
).map(b"".join)
_STATUSES = st.sampled_from(
    [b"200 OK"] * 8 + [b"204 No", b"304 No", b"400 Bad", b"429 Slow", b"500 Oops", b"502", b"503 Busy"]
)
_ANSWER_FIELDS = st.sampled_from(
    [
        b"content-type: application/json",
        b"content-type: text/event-stream",
        b"connection: close",
        b"connection: x-own",
        b"x-own: 1",
        b"retry-after: 3",
        b"x-request-id: forged",
        b"x-fairlead-reason: forged",
        b"keep-alive: timeout=5",
        b"trailer: x",
    ]
)
_INTERIM = st.sampled_from([b""] * 8 + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 3])


@st.composite
def _answers(draw: st.DrawFn) -> bytes:
    whole = st.sampled_from([b"", b"{}", b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}', b"x" * 100_000])
    fields = b"".join(field + b"\r\n" for field in draw(st.lists(_ANSWER_FIELDS, max_size=3)))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"]))
    framing, body = draw(st.one_of(_framed(whole), _framed(_EVENTS), _EVENTS.map(lambda events: (b"", events))))
    kind = b"content-type: text/event-stream\r\n" if draw(st.booleans()) else b""
    return draw(_INTERIM) + b"%b %b\r\n%b%b%b\r\n%b" % (version, draw(_STATUSES), kind, fields, framing, body)


@st.composite
def _bent(draw: st.DrawFn, proper: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a few places changed, or none."""
    data = draw(proper)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 4]))):
        at = draw(st.integers(0, len(data)))
        to = min(len(data), at + draw(st.sampled_from([0, 0, 1, 2, 10, 1000])))
        data = (
            data[:at]
            + draw(st.one_of(_DUST, st.just(b""), st.just(data[at:to] * 2), st.binary(max_size=3)))
            + data[to:]
        )
    return data


@st.composite
def _cut(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> tuple[bytes, ...]:
    """Bytes in pieces: one, any, or of one byte each."""
    data = draw(whole)
    how = draw(st.sampled_from(["whole", "whole", "any", "any", "bytes"]))
    if how == "bytes" and len(data) < 400:
        return tuple(bytes([byte]) for byte in data)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=5))) if how == "any" else []
    return tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end)


@st.composite
def _callers(draw: st.DrawFn) -> Caller:
    """Either requests of which it can be said how many they are, or anything."""
    farewell = draw(st.sampled_from([Farewell.WAITS] * 6 + list(Farewell)))
    if draw(st.booleans()):
        requests = draw(st.lists(_good_requests(), min_size=1, max_size=5))
        data = b"".join(requests)
        end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
        return Caller(draw(_cut(st.just(data[:end]))), farewell, len(requests))
    anything = st.lists(_bent(st.one_of(_good_requests(), _requests())), min_size=1, max_size=4).map(b"".join)
    return Caller(draw(_cut(anything)), farewell)


_REPLIES = st.builds(
    Reply,
    _cut(_bent(_answers())),
    st.sampled_from([Afterwards.KEEPS] * 3 + list(Afterwards)),
    st.sampled_from([False, False, False, True]),
)

cases: st.SearchStrategy[Case] = st.builds(
    Case,
    st.lists(_callers(), min_size=1, max_size=6).map(tuple),
    st.lists(_REPLIES, min_size=1, max_size=4).map(tuple),
    st.sampled_from([False, False, False, False, True]),
)
"""What hypothesis draws from."""
