"""A worker's decider: it asks the decider process, and decides by itself while there is none to ask, without a queue.

Whoever decides, the worker's own ledger notes every placement and every end. So it can go on alone at any moment, over
the counts that all workers share, and tell a decider that comes back what runs. What is lost with the decider is only
what it alone knew: for how long endpoints have been failing under the requests of other workers.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Set
from random import Random
from typing import Final

from fairlead_router.contract import Reason
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import Decision, Outcome, Placement, Rejection, RequestView, Ticket, Usage
from fairlead_router.placing import Asker
from fairlead_router.workers.asking import Say, running, submission
from fairlead_router.workers.link import Link, Message

logger = logging.getLogger(__name__)

PING_SECONDS: Final = 0.25
SILENCE_SECONDS: Final = 1.0
"""After so long without a word the decider counts as lost: a request that waits for it is decided here."""
_RETRY_SECONDS: Final = (0.02, 0.5)
"""Between attempts to reach the decider: at first, and at most."""

_END: Final = Say.END.value
_FIRST_BYTE: Final = Say.FIRST_BYTE.value
_CANCEL: Final = Say.CANCEL.value
_REASONS: Final = {reason.value: reason for reason in Reason}


class _Asked:
    """A request of which the decider has yet to say where it goes."""

    __slots__ = ("asker", "request", "tried")

    def __init__(self, request: RequestView, tried: Set[str], asker: Asker) -> None:
        self.request = request
        self.tried = tried
        self.asker = asker


class RemoteDecider:
    """Places the requests of one worker; lives in one event loop."""

    def __init__(self, own: Decider, clock: Callable[[], float], random: Random) -> None:
        """Begin alone; `own` has the worker's ledger."""
        self.connected = False
        """Whether the decider decides; False while this worker does."""
        self.decider_pid = 0
        """Of the decider that greeted last: one that has died may not have been missed yet."""
        self._own = own
        self._clock = clock
        self._random = random
        self._link: Link | None = None
        self._numbers = 0
        self._asked: dict[int, _Asked] = {}
        self._numbers_of: dict[int, int] = {}
        """Of those requests, by their identity."""
        self._open: dict[Ticket, int] = {}
        self._heard_at = 0.0
        self._lost: asyncio.Event = asyncio.Event()

    # What the relay calls.

    def submit(self, request: RequestView, tried: Set[str], asker: Asker) -> Decision | None:
        """Ask for a place."""
        link = self._link
        if link is None or not self.connected:
            return self._decide(request, tried)
        self._numbers = number = self._numbers + 1
        self._asked[number] = _Asked(request, tried, asker)
        self._numbers_of[id(request)] = number
        link.send(submission(number, request, tried))
        return None

    def cancel(self, request: RequestView) -> None:
        """Ask for a place no more."""
        number = self._numbers_of.pop(id(request), None)
        if number is not None:
            del self._asked[number]
            if self._link is not None:
                self._link.send((_CANCEL, number))

    def first_byte(self, ticket: Ticket) -> None:
        """Tell of an answer: at once where it tells whether the endpoint is well, or somebody may wait for room."""
        trial = ticket.trial
        self._own.first_byte(ticket, self._clock())
        if self._link is not None:
            send = self._link.send if trial or self._asked else self._link.send_with_next
            send((_FIRST_BYTE, self._open[ticket]))

    def end(self, ticket: Ticket, reason: Reason, status: int, usage: Usage | None = None) -> Outcome:
        """Give a place back."""
        outcome = self._own.end(ticket, reason, self._clock(), status, usage)
        number = self._open.pop(ticket)
        if self.connected and self._link is not None:
            used = usage or Usage(0, outcome.token_chunks)
            send = self._link.send if self._asked else self._link.send_with_next
            seen = outcome.ttft_seconds, outcome.worst_tbt_seconds
            send((_END, number, reason.value, status, used.prompt_tokens, used.output_tokens, *seen))
        return outcome

    # The connection to the decider.

    async def run(self, address: bytes) -> None:
        """Stay connected with the decider at an abstract address, for ever."""
        pause, longest = _RETRY_SECONDS
        try:
            while True:
                if await self._connect(address):
                    await self._watch()
                    pause, _ = _RETRY_SECONDS
                await asyncio.sleep(pause * (0.5 + self._random.random()))
                pause = min(2 * pause, longest)
        finally:
            self.connected = False
            if self._link is not None:
                self._link.close()

    async def _connect(self, address: bytes) -> bool:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            return False
        self._lost.clear()
        self._heard_at = self._clock()
        self._link = Link(self._receive, self._hung_up)
        await self._link.attach(sock)
        self._link.send((Say.HELLO.value,))
        return True

    async def _watch(self) -> None:
        """Return when the decider is lost."""
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await self._lost.wait()
            if self._link is None:
                return
            silent_seconds = self._clock() - self._heard_at
            if silent_seconds > SILENCE_SECONDS:
                self._link.abort()
                self._go_on_alone("it is silent")
            elif silent_seconds > PING_SECONDS:
                self._link.send((Say.PING.value,))

    def _receive(self, message: Message) -> None:
        self._heard_at = self._clock()
        match message[0]:
            case Say.PLACE:
                _, number, uid, trial, explanation = message
                self._placed(number, uid, explanation, trial=trial)
            case Say.REJECT:
                _, number, reason, text, retry_after = message
                asked = self._answered(number)
                if asked is not None:
                    asked.asker.decided(Rejection(_REASONS[reason], text, retry_after))
            case Say.QUEUED if message[1] in self._asked:
                self._asked[message[1]].asker.queued()
            case Say.RECALL:
                self._recalled(message[1])
            case Say.HELLO:
                self.decider_pid = message[1]
                self._begin_to_ask()

    def _begin_to_ask(self) -> None:
        if self._link is not None:
            for ticket, number in self._open.items():
                self._link.send(running(number, ticket))
            self.connected = True
            logger.info("the decider decides")

    def _hung_up(self) -> None:
        self._go_on_alone("it has hung up")
        self._link = None
        self._lost.set()

    def _go_on_alone(self, why: str) -> None:
        if not self.connected:
            return
        self.connected = False
        asked, self._asked = self._asked, {}
        self._numbers_of.clear()
        logger.warning("the decider is lost, this worker decides: %s; %d requests waited", why, len(asked))
        for each in asked.values():
            each.asker.decided(self._decide(each.request, each.tried))

    # Decisions.

    def _decide(self, request: RequestView, tried: Set[str]) -> Decision:
        decision = self._own.submit(request, self._clock(), tried)
        if decision is None:
            raise AssertionError("a decider without an admission lets nobody wait")
        if isinstance(decision, Placement):
            self._numbers += 1
            self._open[decision.ticket] = self._numbers
        return decision

    def _answered(self, number: int) -> _Asked | None:
        """Return what an answer is for; None where it is not wanted any more."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            self._numbers_of.pop(id(asked.request), None)
        return asked

    def _placed(self, number: int, uid: str, explanation: str, *, trial: bool) -> None:
        asked = self._answered(number)
        if asked is None:
            return
        ticket = self._own.place(asked.request, uid, self._clock())
        if ticket is None:
            self._ask_for_another(number, uid, asked)
            return
        ticket.trial = ticket.trial or trial
        ticket.holder = asked.asker
        self._open[ticket] = number
        asked.asker.decided(Placement(ticket, explanation=explanation))

    def _recalled(self, number: int) -> None:
        """Ask for a place back, unless it was given back meanwhile; so few are asked for that they have no index."""
        holder = next((ticket.holder for ticket, open_ in self._open.items() if open_ == number), None)
        if holder is not None:
            holder.recalled()

    def _ask_for_another(self, number: int, uid: str, asked: _Asked) -> None:
        """Turn down a place on an endpoint that this worker has not heard of yet, or not any more."""
        if self._link is not None:
            self._link.send((_END, number, Reason.CLIENT_DISCONNECTED.value, 0, 0, 0, None, None))
        decision = self.submit(asked.request, asked.tried | {uid}, asked.asker)
        if decision is not None:
            asked.asker.decided(decision)
