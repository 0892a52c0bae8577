"""A request that is refused by its head: what becomes of its body, and of the requests behind it."""

import asyncio

import pytest

BODY = b'{"model": "mock"}'
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


def put(body: bytes) -> bytes:
    """A request that is refused, by its method, before its body is looked at."""
    return b"PUT /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def connect(router):
    address = router.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(*address)


async def answer(reader: asyncio.StreamReader) -> int:
    """Read one answer whole; return its status."""
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
    return int(head.split()[1])


@pytest.mark.parametrize("cut", [0, 10, len(put(b"")), len(put(BODY)) - 1, len(put(BODY)), len(put(BODY)) + 5])
async def test_the_request_behind_it_is_answered_however_the_bytes_arrive(router, cut):
    running = await router()
    reader, writer = await connect(running)
    sent = put(BODY) + HEALTH
    writer.write(sent[:cut])
    await asyncio.sleep(0)
    writer.write(sent[cut:])
    assert [await answer(reader), await answer(reader)] == [405, 200]
    writer.close()


async def test_a_body_that_is_too_long_to_be_read_for_nothing_ends_the_connection(router):
    running = await router()
    reader, writer = await connect(running)
    writer.write(put(bytes(300 * 1024))[: 200 * 1024])
    assert await answer(reader) == 405
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
