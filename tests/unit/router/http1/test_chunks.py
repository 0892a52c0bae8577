"""Chunks: written, and recognised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.http1.answers import AnswerHead, AnswerParser
from fairlead_router.http1.chunks import LAST_CHUNK, SMALL, SMALL_BEGIN_WITH, SMALL_DATA_AT, chunk

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
pieces = st.binary(min_size=1, max_size=40) | st.sampled_from([b"x" * size for size in (255, 256, 4095, 4096, 70000)])


def data_of(read: bytes) -> bytes | None:
    """Return the data of a read that is one small chunk and nothing else."""
    length = len(read)
    if length < SMALL and read.startswith(SMALL_BEGIN_WITH[length]) and read.endswith(b"\r\n"):
        return read[SMALL_DATA_AT[length] : -2]
    return None


def reader() -> AnswerParser:
    """A parser that stands between two chunks."""
    parser = AnswerParser()
    parser.expect()
    parser.feed(HEAD + chunk(b"first"))
    assert parser.between_chunks
    return parser


@given(pieces)
def test_a_chunk_is_read_as_it_was_framed(data):
    assert reader().feed(chunk(data)) == [data]


@given(pieces)
def test_a_chunk_that_is_all_of_a_read_is_recognised_if_it_is_small(data):
    framed = chunk(data)
    assert data_of(framed) == (data if len(framed) < SMALL else None)


@given(
    pieces,
    st.sampled_from([b"", b";a=b", b" ", b"0"]),
    st.sampled_from([b"\r\n", b"\n", b"\r"]),
    st.integers(-2, 2),
    st.booleans(),
    st.sampled_from([b"", b"\r", b"\r\n", b"0\r\n\r\n", b"x"]),
)
def test_whatever_is_recognised_the_parser_would_have_read_as_the_same(data, extra, newline, error, upper, rest):
    size = b"%X" % max(0, len(data) + error) if upper else b"%x" % max(0, len(data) + error)
    read = size + extra + newline + data + b"\r\n" + rest
    recognised = data_of(read)
    if recognised is not None:
        parser = reader()
        assert parser.feed(read) == [recognised]
        assert parser.between_chunks


@pytest.mark.parametrize(
    "read", [b"", b"\r\n", b"0\r\n\r\n", b"1\r\nab\r\n", b"01\r\na\r\n", b"1\r\na\n\r", b"3\r\nabc"]
)
def test_other_reads_are_for_the_parser(read):
    assert data_of(read) is None


@pytest.mark.parametrize(
    ("reads", "between"),
    [
        ([HEAD], False),
        ([HEAD + b"1\r\na"], False),
        ([HEAD + b"1\r\na\r"], False),
        ([HEAD + b"1\r\na\r", b"\n"], True),
        ([HEAD + b"1\r\na\r\n"], True),
        ([HEAD + b"1\r\na\r\n", b"1"], False),
        ([HEAD + b"1\r\na\r\n", b"1\r"], False),
        ([HEAD + b"1\r\na\r\n1;x"], False),
        ([HEAD + b"1\r\na\r\n1;x\r\n"], False),
        ([HEAD + b"1\r\na\r\n1\r\nb\r\n"], True),
        ([HEAD + b"1\r\na\r\n" + LAST_CHUNK], False),
        ([HEAD + b"1\r\na\r\n0\r\n"], False),
        ([HEAD + b"1\r\na\r\n0\r\nx: y\r\n"], False),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1\r\na\r\n"], False),
    ],
)
def test_the_parser_knows_when_it_stands_between_two_chunks(reads, between):
    parser = AnswerParser()
    parser.expect()
    for read in reads:
        parser.feed(read)
    assert parser.between_chunks is between


def test_between_chunks_ends_with_the_answer():
    parser = reader()
    parser.feed(LAST_CHUNK)
    parser.expect()
    assert isinstance(parser.feed(HEAD)[0], AnswerHead)
    assert not parser.between_chunks
