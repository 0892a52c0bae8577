"""Lines reach whoever reads them, and who does not read holds nobody up."""

import os
import select
import threading

import pytest

from fairlead_router.line_writer import LineWriter

DEADLINE_SECONDS = 5.0
PIPE_BYTES = 65536
"""What a pipe of Linux holds."""


@pytest.fixture
def pipe():
    """Both ends of a pipe; closed at the end, as far as the test has not done so."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        if end is not None:
            os.close(end)


def read_all(descriptor):
    """Everything up to the moment when the last writer has closed."""
    data = b""
    while piece := os.read(descriptor, 1 << 20):
        data += piece
    return data


def closed(pipe, end):
    os.close(pipe[end])
    pipe[end] = None


def test_lines_arrive_in_their_order_by_the_time_the_writer_is_closed(pipe):
    writer = LineWriter(pipe[1])
    lines = [b"line %d\n" % number for number in range(2000)]
    for line in lines:
        writer.write(line)
    writer.close(DEADLINE_SECONDS)
    closed(pipe, 1)
    assert read_all(pipe[0]) == b"".join(lines)
    assert writer.lost == 0


def test_a_line_is_written_without_waiting_for_another(pipe):
    writer = LineWriter(pipe[1])
    for line in (b"first\n", b"second\n"):
        writer.write(line)
        assert select.select(pipe[:1], (), (), DEADLINE_SECONDS)[0]
        assert os.read(pipe[0], 100) == line
    writer.close(DEADLINE_SECONDS)


def test_a_reader_that_stops_reading_holds_nobody_up_and_costs_lines_beyond_the_bound_only(pipe, caplog):
    writer = LineWriter(pipe[1], max_waiting_bytes=10_000)
    line = b"x" * 99 + b"\n"
    for _ in range(PIPE_BYTES // 100 + 1000):  # more than pipe and bound together
        writer.write(line)
    assert writer.lost >= 1000 - 100
    accepted = PIPE_BYTES // 100 + 1000 - writer.lost
    assert accepted >= 100
    closing = threading.Thread(target=writer.close, args=(DEADLINE_SECONDS,))
    closing.start()
    assert os.read(pipe[0], 100) == line
    seen = 1
    while seen < accepted:
        seen += os.read(pipe[0], 1 << 20).count(b"\n")
    closing.join(DEADLINE_SECONDS)
    assert seen == accepted
    assert "lost" not in caplog.text


def test_closing_gives_up_on_a_reader_that_has_stopped_and_says_what_is_lost(pipe, caplog):
    writer = LineWriter(pipe[1])
    for _ in range(200):
        writer.write(b"x" * 999 + b"\n")
    writer.close(0.2)
    assert "bytes of lines could not be written in 0.2 s and are lost" in caplog.text
    closed(pipe, 0)
    writer.close(DEADLINE_SECONDS)  # its thread ends now that nobody can read any more


def test_lines_that_nobody_can_read_any_more_are_counted_and_reported_once(pipe, caplog):
    closed(pipe, 0)
    writer = LineWriter(pipe[1])
    for _ in range(500):
        writer.write(b"x" * 99 + b"\n")
    writer.close(DEADLINE_SECONDS)
    assert writer.lost == 500
    assert caplog.text.count("lines are lost, writing them failed: [Errno 32] Broken pipe") == 1


def test_a_descriptor_that_does_not_wait_gets_everything_too(pipe):
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1])
    lines = [b"%0999d\n" % number for number in range(500)]
    for line in lines:
        writer.write(line)
    reading = threading.Thread(target=lambda: read.append(read_all(pipe[0])))
    read = []
    reading.start()
    writer.close(DEADLINE_SECONDS)
    closed(pipe, 1)
    reading.join(DEADLINE_SECONDS)
    assert read == [b"".join(lines)]
    assert writer.lost == 0


def test_writers_that_share_a_pipe_do_not_write_into_each_other_s_lines(pipe):
    writers = [LineWriter(pipe[1]) for _ in range(4)]
    read = []
    reading = threading.Thread(target=lambda: read.append(read_all(pipe[0])))
    reading.start()
    for number in range(1000):
        for mark, writer in zip(b"abcd", writers, strict=True):
            writer.write(bytes([mark]) * (1 + number % 600) + b"\n")
    for writer in writers:
        writer.close(DEADLINE_SECONDS)
    closed(pipe, 1)
    reading.join(DEADLINE_SECONDS)
    lines = read[0].split(b"\n")[:-1]
    assert len(lines) == 4000
    assert all(len(set(line)) == 1 for line in lines)
