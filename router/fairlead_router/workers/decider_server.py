"""The decider as a process of its own: one ledger, one policy and one queue for all workers of a router."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import Decision, Placement, RequestView, Ticket, Usage
from fairlead_router.local_decider import LocalDecider
from fairlead_router.workers.asking import Say, submitted
from fairlead_router.workers.link import Link, Message

logger = logging.getLogger(__name__)

_PLACE: Final = Say.PLACE.value
_REASONS: Final = {reason.value: reason for reason in Reason}


class DeciderServer:
    """Answers workers; lives in one event loop."""

    def __init__(self, decider: Decider, clock: Callable[[], float]) -> None:
        self.decider = decider
        self.clock = clock
        self.placing = LocalDecider(decider, clock)
        self._asking: set[Asking] = set()
        self._knows_the_pool = False

    @property
    def workers(self) -> int:
        """Workers that are connected."""
        return len(self._asking)

    def open(self) -> None:
        """Begin to decide: the policy and the endpoints are known."""
        if not self._knows_the_pool:
            self._knows_the_pool = True
            for asking in self._asking:
                asking.greet()

    async def accept(self, sock: socket.socket) -> None:
        """Serve one worker."""
        asking = Asking(self)
        await asking.link.attach(sock)
        self._asking.add(asking)
        if self._knows_the_pool:
            asking.greet()

    def forget(self, asking: "Asking") -> None:
        """Forget a worker that has hung up."""
        self._asking.discard(asking)

    def close(self) -> None:
        """Hang up on all of them."""
        for asking in tuple(self._asking):
            asking.link.close()


class Asking:
    """One worker's connection, and its requests that wait or hold a place."""

    def __init__(self, server: DeciderServer) -> None:
        self.link = Link(self.receive, self.lost)
        self._server = server
        self._decider = server.decider
        self._placing = server.placing
        self._clock = server.clock
        self._waiting: dict[int, RequestView] = {}
        self._tickets: dict[int, Ticket] = {}

    def greet(self) -> None:
        """Let the worker ask."""
        self.link.send((Say.HELLO.value, os.getpid()))

    def receive(self, message: Message) -> None:
        """Take one message."""
        match message[0]:
            case Say.SUBMIT:
                self._submit(message)
            case Say.END:
                _, number, reason, status, prompt_tokens, output_tokens, *seen = message
                self._end(number, _REASONS[reason], status, Usage(prompt_tokens, output_tokens), *seen)
            case Say.FIRST_BYTE:
                self._first_byte(message[1])
            case Say.CANCEL:
                self._cancel(message[1])
            case Say.RUNNING:
                _, uid, answers, asked = message
                self._running(uid, asked, answers=answers)
            case Say.PING:
                self.link.send((Say.PONG.value,))

    def lost(self) -> None:
        """Forget what a worker that is gone has waiting, and give back its places."""
        self._server.forget(self)
        for number in (*self._waiting, *self._tickets):
            self._cancel(number)

    def queued(self, number: int, request: RequestView) -> None:
        """Let the worker know that a request waits."""
        self._waiting[number] = request
        self.link.send((Say.QUEUED.value, number))

    def answer(self, number: int, decision: Decision) -> None:
        """Let the worker know what has been decided of a request."""
        if isinstance(decision, Placement):
            ticket = decision.ticket
            self._tickets[number] = ticket
            self.link.send((_PLACE, number, ticket.endpoint.uid, ticket.trial, decision.explanation))
        else:
            said = decision.reason.value, decision.message, decision.retry_after_seconds
            self.link.send((Say.REJECT.value, number, *said))

    def decided(self, number: int, decision: Decision) -> None:
        """Answer a request that has waited."""
        del self._waiting[number]
        self.answer(number, decision)

    def recalled(self, number: int) -> None:
        """Ask the worker for a place that it holds."""
        self.link.send((Say.RECALL.value, number))

    def _submit(self, message: Message) -> None:
        number: int = message[1]
        request, tried = submitted(message)
        decision = self._placing.submit(request, tried, _Asker(self, number, request))
        if decision is not None:
            self.answer(number, decision)

    def _cancel(self, number: int) -> None:
        request = self._waiting.pop(number, None)
        if request is None:
            self._end(number, Reason.CLIENT_DISCONNECTED, 0)
        else:
            self._placing.cancel(request)

    def _first_byte(self, number: int) -> None:
        ticket = self._tickets.get(number)
        if ticket is not None:
            self._placing.first_byte(ticket)

    def _end(
        self,
        number: int,
        reason: Reason,
        status: int,
        usage: Usage | None = None,
        ttft: float | None = None,
        worst_tbt: float | None = None,
    ) -> None:
        ticket = self._tickets.pop(number, None)
        if ticket is not None:  # else on an endpoint that this decider has never known
            ticket.ttft, ticket.worst_tbt = ttft, worst_tbt  # only the worker has seen its tokens
            self._placing.end(ticket, reason, status, usage)

    def _running(self, uid: str, asked: Message, *, answers: bool) -> None:
        request, _ = submitted(asked)
        ticket = self._decider.resume(request, uid, self._clock(), answers=answers)
        if ticket is not None:
            self._tickets[asked[1]] = ticket


class _Asker:
    """Stands for a request of a worker."""

    __slots__ = ("_asking", "_number", "_request")

    def __init__(self, asking: Asking, number: int, request: RequestView) -> None:
        self._asking = asking
        self._number = number
        self._request = request

    def queued(self) -> None:
        self._asking.queued(self._number, self._request)

    def decided(self, decision: Decision) -> None:
        self._asking.decided(self._number, decision)

    def recalled(self) -> None:
        self._asking.recalled(self._number)
