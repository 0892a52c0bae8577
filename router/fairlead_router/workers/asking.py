"""What a worker and the decider say to each other: contracts' `submit` and `end`, once per request and never per token.

    worker -> decider                                   decider -> worker
    [hello]                                             [hello]            may come late: when it knows the pool
    [running, [[number, uid], ...]]
    [submit, number, ...the request, [tried uid, ...]]  [place, number, uid, trial] or [reject, number, reason, message]
    [first_byte, number]
    [end, number, reason, status, prompt tokens, output tokens]
    [ping]                                              [pong]

A worker numbers its requests. The answer to a `submit` may come late: a decider may let a request wait. `running` comes
first on every connection, so that a decider that has just started knows all requests that run, and which numbers they
will end under. A decider that loses a worker gives back all its places.
"""

from collections.abc import Iterable, Set
from enum import StrEnum
from typing import Any

from fairlead_router.decisions.types import RequestView, Slo
from fairlead_router.workers.link import Message


class Say(StrEnum):
    """Kinds of messages."""

    HELLO = "hello"
    RUNNING = "running"
    SUBMIT = "submit"
    PLACE = "place"
    REJECT = "reject"
    FIRST_BYTE = "first_byte"
    END = "end"
    PING = "ping"
    PONG = "pong"


_SUBMIT = Say.SUBMIT.value


def submission(number: int, request: RequestView, tried: Set[str]) -> Message:
    """Return the message that asks for a place."""
    slo = request.slo
    return (
        _SUBMIT,
        number,
        request.request_id,
        request.model,
        request.service_class,
        request.arrived_at,
        slo.ttft_seconds,
        slo.tbt_seconds,
        request.streamed,
        request.prompt_bytes,
        request.max_output_tokens,
        request.prefix,
        tuple(tried),
    )


def submitted(message: Message) -> tuple[RequestView, frozenset[str]]:
    """Return the request that a `submission` is about, and what was tried."""
    _, _, request_id, model, service_class, arrived_at, ttft, tbt, streamed, *asked, tried = message
    prompt_bytes, max_output_tokens, prefix = asked
    request = RequestView(
        request_id,
        model,
        service_class,
        arrived_at,
        Slo(ttft, tbt),
        streamed,
        prompt_bytes,
        max_output_tokens=max_output_tokens,
        prefix=tuple(prefix),
    )
    return request, frozenset(tried)


def running(tickets: Iterable[tuple[int, str]]) -> Message:
    """Return the message that says what runs where."""
    told: list[Any] = list(tickets)
    return (Say.RUNNING.value, told)
