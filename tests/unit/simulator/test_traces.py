"""Traces in files."""

from pathlib import Path

import pytest

from fairlead_simulator.lengths import Lengths
from fairlead_simulator.traces import TraceError, read_trace

HEADER = "num_prefill_tokens,num_decode_tokens\n"


def accept(_: Lengths) -> None:
    """An engine that can serve everything."""


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_columns_are_found_by_their_names_and_others_are_ignored(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "note,num_decode_tokens,num_prefill_tokens\nx,5,10\n\ny,6,11\n"), check=accept)
    assert trace.lengths == (Lengths(10, 5), Lengths(11, 6))
    assert trace.arrival_seconds == ()


def test_arrivals_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,5\n2,11,6\n")
    assert read_trace(path, check=accept, arrivals=True).arrival_seconds == (0.5, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the header has no column num_prefill_tokens"),
        ("a,b\n1,2\n", ":1: the header has no column num_prefill_tokens"),
        (HEADER, "has no row"),
        (HEADER + "10,5\nabc,5\n", ":3: num_prefill_tokens must be a whole number of at least 1, not 'abc'"),
        (HEADER + "10,0\n", ":2: num_decode_tokens must be a whole number of at least 1, not '0'"),
        (HEADER + "10,2.5\n", ":2: num_decode_tokens"),
        (HEADER + "-3,2\n", ":2: num_prefill_tokens"),
        (HEADER + "10,5\n10\n", ":3: the row has 1 of the header's 2 columns"),
        ('num_prefill_tokens,num_decode_tokens,note\n1,2,"two\nlines"\nx,1,\n', ":4: num_prefill_tokens"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as raised:
        read_trace(path, check=accept)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,1,-1\n", ":2: arrived_at must be a number"),
        ("1,1,nan\n", ":2: arrived_at must be a number"),
        ("1,1,x\n", ":2: arrived_at must be a number"),
        ("1,1,2\n1,1,1\n", ":3: arrived_at 1 is before the row above"),
        ("1,1,2\n1,1,2\n", "all rows have the same arrived_at"),
    ],
)
def test_arrivals_that_cannot_be_replayed_are_named(tmp_path: Path, rows: str, message: str) -> None:
    path = written(tmp_path, "num_prefill_tokens,num_decode_tokens,arrived_at\n" + rows)
    with pytest.raises(TraceError) as raised:
        read_trace(path, check=accept, arrivals=True)
    assert message in str(raised.value)


def test_lengths_that_cannot_be_served_are_named_by_their_line(tmp_path: Path) -> None:
    def refuse_long(lengths: Lengths) -> None:
        if lengths.prompt_tokens > 100:
            raise ValueError("too long")

    with pytest.raises(TraceError, match=r"trace\.csv:3: too long"):
        read_trace(written(tmp_path, HEADER + "10,5\n101,5\n"), check=refuse_long)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TraceError, match="UTF-8"):
        read_trace(path, check=accept)
