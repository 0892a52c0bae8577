"""Play one client, and judge what it gets."""

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass

import h11
from wire import Answer, BrokenOffError, Judge

from fuzzing.cases import Caller, Farewell

ROUTER_REASON = "x-fairlead-reason"
DEAF_SECONDS = 1
RELAYED = frozenset({"placed", "engine_error"})


@dataclass(frozen=True, slots=True)
class Heard:
    """What one client has read, and whether the connection ended by a reset."""

    data: bytes
    was_reset: bool


async def play(caller: Caller, address: tuple[str, int]) -> Heard:
    """Send everything, then read to the end of the connection unless the client leaves before."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        if caller.farewell is Farewell.DEAF:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(sock, address)
        reading = None if caller.farewell is Farewell.DEAF else asyncio.create_task(_read(sock))
        with contextlib.suppress(ConnectionError):
            for piece in caller.pieces:
                await loop.sock_sendall(sock, piece)
                await asyncio.sleep(0)
        if caller.farewell in {Farewell.CLOSES, Farewell.RESETS} and reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
            if caller.farewell is Farewell.RESETS:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return Heard(b"", was_reset=True)
        if caller.farewell is Farewell.HALF_CLOSES:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        if reading is None:
            await _hung_up_on(sock)
            return Heard(b"", was_reset=True)
        return await reading


async def _read(sock: socket.socket) -> Heard:
    data = bytearray()
    try:
        while piece := await asyncio.get_running_loop().sock_recv(sock, 65536):
            data += piece
    except ConnectionError:
        return Heard(bytes(data), was_reset=True)
    return Heard(bytes(data), was_reset=False)


async def _hung_up_on(sock: socket.socket) -> None:
    """Wait until the router has broken the connection of a client that reads nothing; 7 and 8 are as in tcp_states.h.

    An end that waits behind unread bytes never arrives, so there is a limit.
    """
    for _ in range(DEAF_SECONDS * 100):
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in {7, 8}:
            return
        await asyncio.sleep(0.01)


def judge(heard: Heard, caller: Caller) -> tuple[list[Answer], list[str]]:
    """Cut what a client has read into answers; returns them, and what is wrong with them."""
    reader, answers, data = Judge(), list[Answer](), heard.data
    try:
        while (answer := reader.take(data)) is not None:
            answers.append(answer)
            data = b""
        if (last := reader.end()) is not None:
            answers.append(last)
    except h11.RemoteProtocolError as error:
        return answers, [f"wrong framing: {error}: {heard.data[-300:]!r}"]
    except BrokenOffError as error:
        hung_up = caller.farewell is not Farewell.WAITS
        if not (hung_up or heard.was_reset or reader.header(ROUTER_REASON) in RELAYED):
            return answers, [f"an answer of the router itself breaks off: {error}: {heard.data[-300:]!r}"]
    wrongs = [wrong for answer in answers for wrong in _wrong_with(answer)]
    if caller.requests is not None and len(answers) > caller.requests:
        wrongs.append(f"{len(answers)} answers to {caller.requests} requests: {answers}")
    return answers, wrongs


def _wrong_with(answer: Answer) -> list[str]:
    reason = answer.headers.get(ROUTER_REASON)
    if answer.status < 400 or reason is None or reason in RELAYED:
        return []
    try:
        code = json.loads(answer.body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return [f"an error of the router that is none: {answer}"]
    return [] if code == reason else [f"{reason} in the head and {code} in the body: {answer}"]
