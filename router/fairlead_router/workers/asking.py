"""What a worker and the decider say to each other: contracts' `submit` and `end`, once per request and never per token.

    worker -> decider                                   decider -> worker
    [hello]                                             [hello, pid]       may come late: when it knows the pool
    [running, uid, answers, [a submit]]
    [submit, number, ...the request, [tried uid, ...]]  [queued, number], perhaps, and then one of
                                                        [place, number, uid, trial, explanation]
                                                        [reject, number, reason, message, retry after]
    [cancel, number]
    [first_byte, number]
    [end, number, reason, status, prompt tokens, output tokens, TTFT, worst TBT]
                                                        [recall, number]
    [ping]                                              [pong]

A worker numbers its requests. The answer to a `submit` may come late: a decider may let a request wait. After a `cancel`
the worker knows the number no more; an answer that was on its way is of no use, and the decider takes a place back. To a
`recall` a worker says `end` with the reason `taken_back` and then `submit` under another number, or nothing if the engine has
begun to answer: one more urgent is to have the place. One `running`
for each request that runs comes first on every connection, with what its `submit` said, so that a decider that has just
started knows what they take and which numbers they will end under; `answers` says that the engine does already. A decider that loses a worker forgets its requests that wait, and gives back all its places.
"""

from collections.abc import Set
from enum import StrEnum
from functools import lru_cache

from fairlead_router.decisions.types import Quota, RequestView, Slo, Ticket
from fairlead_router.relay.prompt_blocks import BLOCK_ENDS
from fairlead_router.workers.link import Message


class Say(StrEnum):
    """Kinds of messages."""

    HELLO = "hello"
    RUNNING = "running"
    SUBMIT = "submit"
    QUEUED = "queued"
    PLACE = "place"
    REJECT = "reject"
    CANCEL = "cancel"
    RECALL = "recall"
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
        request.tenant,
        request.session,
        request.explained,
        None if request.quota is None else (request.quota.requests, request.quota.tokens),
        request.taken_from,
        request.fingerprint,
        request.wait_seconds,
        tuple(tried),
    )


def submitted(message: Message) -> tuple[RequestView, frozenset[str]]:
    """Return the request that a `submission` is about, and what was tried."""
    _, _, request_id, model, service_class, arrived_at, ttft, tbt, streamed, *asked, tried = message
    prompt_bytes, max_output_tokens, prefix, tenant, session, explained, quota, taken_from, fingerprint, wait = asked
    request = RequestView(  # by place: by name takes twice as long
        request_id,
        model,
        service_class,
        arrived_at,
        _slo(ttft, tbt),
        streamed,
        prompt_bytes,
        None,
        max_output_tokens,
        tuple(prefix),
        BLOCK_ENDS,
        tenant,
        session,
        explained,
        None if quota is None else Quota(*quota),
        taken_from,
        fingerprint,
        wait,
    )
    return request, frozenset(tried)


@lru_cache
def _slo(ttft_seconds: float | None, tbt_seconds: float | None) -> Slo:
    return Slo(ttft_seconds, tbt_seconds)


def running(number: int, ticket: Ticket) -> Message:
    """Return the message that says of a request that it runs, and where."""
    answers = ticket.ttft is not None
    return (Say.RUNNING.value, ticket.endpoint.uid, answers, submission(number, ticket.request, frozenset()))
