"""Messages between processes: all arrive, in order, and those of one moment together."""

import asyncio
import socket
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.workers.link import MAX_FRAME_BYTES, Link


class End:
    """One end of a link, and what it has heard."""

    def __init__(self) -> None:
        self.heard = []
        self.lost = asyncio.Event()
        self.link = Link(self.heard.append, self.lost.set)

    @classmethod
    async def of(cls, sock: socket.socket) -> "End":
        end = cls()
        await end.link.attach(sock)
        return end


@pytest.fixture
async def ends():
    made = [await End.of(sock) for sock in socket.socketpair()]
    yield made
    for end in made:
        end.link.abort()
        await end.lost.wait()


@pytest.fixture
async def raw():
    """A link, and a plain socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = await End.of(ours)
    yield end, theirs
    end.link.abort()
    await end.lost.wait()
    theirs.close()


async def test_messages_arrive_in_order_both_ways(ends, kit):
    one, other = ends
    for number in range(3):
        one.link.send(["number", number, None, 1.5])
    other.link.send(["hello", {"a": [1]}])
    await kit.until(lambda: len(other.heard) == 3 and one.heard, "all have arrived")
    assert other.heard == [["number", number, None, 1.5] for number in range(3)]
    assert one.heard == [["hello", {"a": [1]}]]


async def test_what_is_sent_in_one_turn_of_the_loop_leaves_as_one_frame(raw):
    end, theirs = raw
    for number in range(3):
        end.link.send([number])
    frame = await asyncio.get_running_loop().sock_recv(theirs, 1000)
    assert frame == b"\0\0\0\x0d[[0],[1],[2]]"


@given(cuts=st.lists(st.integers(1, 60), max_size=10))
def test_frames_may_arrive_in_any_pieces(cuts):
    async def receive() -> None:
        ours, theirs = socket.socketpair()
        end = await End.of(ours)
        stream = b'\0\0\0\x0d[[0],[1],[2]]\0\0\0\x02[]\0\0\0\x07[["x"]]'
        borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        for start, stop in pairwise(borders):
            end.link.data_received(stream[start:stop])
        assert end.heard == [[0], [1], [2], ["x"]]
        theirs.close()
        await end.lost.wait()

    asyncio.run(receive())


async def test_large_messages_arrive_whole(ends, kit):
    one, other = ends
    text = "x" * 3_000_000
    one.link.send([text])
    await kit.until(lambda: bool(other.heard), "it has arrived")
    assert other.heard == [[text]]


async def test_closing_sends_what_waits_and_the_other_end_notices(ends):
    one, other = ends
    one.link.send(["last"])
    one.link.close()
    await other.lost.wait()
    await one.lost.wait()
    assert other.heard == [["last"]]


async def test_into_a_closed_link_nothing_is_sent(ends):
    one, other = ends
    other.link.abort()
    await one.lost.wait()
    assert one.link.closed
    one.link.send(["nobody hears this"])
    one.link.flush()


async def test_a_stream_that_is_not_ours_ends_the_link(raw):
    end, theirs = raw
    theirs.send((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    await end.lost.wait()
    assert end.heard == []


async def test_what_can_wait_leaves_with_what_cannot_and_in_order(raw):
    end, theirs = raw
    end.link.send_with_next(["end"])
    end.link.send_with_next(["end"])
    end.link.send(["submit"])
    assert await asyncio.get_running_loop().sock_recv(theirs, 1000) == b'\0\0\0\x1c[["end"],["end"],["submit"]]'


async def test_what_can_wait_leaves_soon_where_nothing_else_does(raw):
    end, theirs = raw
    end.link.send_with_next(["end"])
    async with asyncio.timeout(5):
        assert await asyncio.get_running_loop().sock_recv(theirs, 1000) == b'\0\0\0\x09[["end"]]'
