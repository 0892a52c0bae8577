"""Small questions to engines, and the connections that they leave behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairlead_router.deadlines import Deadlines
from fairlead_router.upstream.ask import MAX_ANSWER_BYTES, ask
from fairlead_router.upstream.errors import ConnectError, LostError, UpstreamError
from fairlead_router.upstream.pool import Pool


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(asyncio.get_running_loop(), Deadlines())
    yield pool
    await pool.aclose()


class Waiting:
    """A request that has the connection after the question, and waits for its answer."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def answer_head(self, head: object) -> None:
        self.heard.append(head)

    def answer_data(self, data: bytes) -> None: ...
    def answer_end(self) -> None: ...

    def answer_lost(self, error: UpstreamError) -> None:
        self.heard.append(error)

    def answer_fault(self) -> None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...


async def test_the_request_that_takes_over_the_connection_keeps_it(pool, engine, kit):
    scripted = await engine(kit.answers(kit.whole(b"{}")))
    asking = asyncio.create_task(ask(pool, scripted.address, "/health", seconds=5))
    connection = None
    async with asyncio.timeout(5):
        while connection is None:  # taken before `ask` goes on: it has not seen the answer's end
            await asyncio.sleep(0)
            connection = pool.take(scripted.address)
    assert not asking.done()
    next_one = Waiting()
    connection.carry(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n", next_one)
    assert (await asking).status == 200
    await kit.until(lambda: next_one.heard, "the next request is answered")
    assert not isinstance(next_one.heard[0], UpstreamError)


async def test_an_engine_that_says_nothing_is_hung_up_on(pool, engine, kit):
    scripted = await engine(kit.answers_then_hangs())
    with pytest.raises(TimeoutError):
        await ask(pool, scripted.address, "/health", seconds=0.05)
    await kit.until(lambda: scripted.hung_up == 1, "the connection is closed")


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(pool, engine, kit):
    size = MAX_ANSWER_BYTES + 1
    scripted = await engine(kit.answers_then_hangs(kit.head("200 OK", f"content-length: {2 * size}"), bytes(size)))
    with pytest.raises(LostError, match="larger than"):
        await ask(pool, scripted.address, "/v1/models", seconds=5)
    await kit.until(lambda: scripted.hung_up == 1, "the connection is closed")


async def test_an_engine_that_is_not_there_is_told_from_one_that_hangs_up(pool, engine, kit):
    with pytest.raises(ConnectError):
        await ask(pool, "127.0.0.1:1", "/health", seconds=1)
    scripted = await engine(kit.answers_then_closes())
    with pytest.raises(UpstreamError) as lost:
        await ask(pool, scripted.address, "/health", seconds=1)
    assert not isinstance(lost.value, ConnectError)
