"""Make a case smaller as long as it still breaks a rule."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from fuzzing.cases import Afterwards, Caller, Case, Farewell, Reply

MAX_SECONDS: Final = 60.0


def minimised(case: Case, breaks: Callable[[Case], bool], seconds: float = MAX_SECONDS) -> Case:
    """Return the smallest case that was found within `seconds`; `breaks` plays one."""
    until = time.monotonic() + seconds
    found = True
    while found:
        found = False
        for smaller in _smaller(case):
            if time.monotonic() > until:
                return case
            if breaks(smaller):
                case, found = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Cases with something left out, what is large first."""
    for at in range(len(case.callers)):
        if len(case.callers) > 1:
            yield replace(case, callers=_without(case.callers, at))
    for at in range(len(case.replies)):
        yield replace(case, replies=_without(case.replies, at))
    if case.locked:
        yield replace(case, locked=False)
    for at, caller in enumerate(case.callers):
        for smaller in _smaller_caller(caller):
            yield replace(case, callers=(*case.callers[:at], smaller, *case.callers[at + 1 :]))
    for at, reply in enumerate(case.replies):
        for less in _smaller_reply(reply):
            yield replace(case, replies=(*case.replies[:at], less, *case.replies[at + 1 :]))


def _smaller_caller(caller: Caller) -> Iterator[Caller]:
    if caller.farewell is not Farewell.WAITS:
        yield replace(caller, farewell=Farewell.WAITS)
    for pieces in _smaller_pieces(caller.pieces, shorten=caller.requests is None):
        yield replace(caller, pieces=pieces)


def _smaller_reply(reply: Reply) -> Iterator[Reply]:
    if reply.afterwards is not Afterwards.KEEPS:
        yield replace(reply, afterwards=Afterwards.KEEPS)
    if reply.early:
        yield replace(reply, early=False)
    for pieces in _smaller_pieces(reply.pieces, shorten=True):
        yield replace(reply, pieces=pieces)


def _smaller_pieces(pieces: tuple[bytes, ...], *, shorten: bool) -> Iterator[tuple[bytes, ...]]:
    if len(pieces) > 1:
        yield (b"".join(pieces),)
        for at in range(len(pieces) - 1):
            yield (*pieces[:at], pieces[at] + pieces[at + 1], *pieces[at + 2 :])
    for at, piece in enumerate(pieces if shorten else ()):
        size = len(piece) // 2
        while size:
            for start in range(0, len(piece), size):
                yield (*pieces[:at], piece[:start] + piece[start + size :], *pieces[at + 1 :])
            size //= 2


def _without(items: tuple, at: int) -> tuple:
    return (*items[:at], *items[at + 1 :])
