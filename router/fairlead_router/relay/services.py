"""What all relayed requests of a process share, and the account of those that run."""

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Final

from fairlead_router.access_log import AccessLog, AccessRecord
from fairlead_router.contract import Reason
from fairlead_router.deadlines import Deadlines
from fairlead_router.decisions.appointments import GRACE_SECONDS
from fairlead_router.decisions.types import Usage
from fairlead_router.edge.response import Response
from fairlead_router.edge.target import Target
from fairlead_router.http1.requests import RequestHead
from fairlead_router.identity.keys import Principal
from fairlead_router.router import Router
from fairlead_router.tracing import NoTracer, Tracer
from fairlead_router.upstream.pool import Pool

if TYPE_CHECKING:
    from fairlead_router.relay.exchange import Exchange
    from fairlead_router.relay.inbound import Admitted

UNKNOWN_CLASS: Final = ""
"""Label `class` of a request that was refused before its class was known."""


class Services:
    """One per event loop."""

    def __init__(
        self, router: Router, pool: Pool, deadlines: Deadlines, access_log: AccessLog, *, random: Random
    ) -> None:
        self.router = router
        self.telemetry = router.telemetry
        self.pool = pool
        self.loop = asyncio.get_running_loop()
        self.random = random
        self.place = router.placing.submit
        """Ask for a place; returns the decision, or None where it will be told later."""
        self.cancel = router.placing.cancel
        """Give up a request of which nothing was told yet."""
        self.end = router.placing.end
        """Give a place back."""
        self.access_log = access_log
        self.tracer: Tracer = NoTracer()
        self.buffered_bytes = 0
        """Bodies of requests that are held, of all requests together."""
        self.idle = asyncio.Event()
        """Set while no request is being relayed."""
        self.idle.set()
        self.running: set[Exchange] = set()
        """Requests that are being relayed."""
        self.deadlines = deadlines
        self.come_back_until = 0.0
        """Until when somebody who was refused may come back when told to: requests have fingerprints as long as that."""

    def interrupt_all(self) -> None:
        """End every running request: the router cannot wait for it."""
        for exchange in tuple(self.running):
            exchange.interrupt(Reason.SHUTTING_DOWN)

    def told_to_come_back(self, seconds: int) -> None:
        """Note that a client was refused, and told to come back after so long."""
        self.come_back_until = max(self.come_back_until, self.deadlines.now + seconds + GRACE_SECONDS)

    def began(self, exchange: "Exchange") -> None:
        """Note a request that is valid and will be placed if possible."""
        self.telemetry.offered(exchange.request.service_class)
        self.router.retries.requested()
        self.running.add(exchange)
        self.deadlines.add(exchange)
        self.idle.clear()

    def ended(self, exchange: "Exchange", reason: Reason, usage: Usage | None) -> None:
        """Account for a request that has ended; `usage` is what the engine said of its tokens."""
        self.running.discard(exchange)
        self.deadlines.discard(exchange)
        if not self.running:
            self.idle.set()
        outcome = exchange.attempts.outcome
        if outcome is None:
            self.telemetry.rejected(exchange.request.service_class, reason)
        else:
            if outcome.reason is not reason:  # it ended between two places, and not as the first did
                outcome = outcome._replace(reason=reason)
            self.telemetry.ended(exchange.request, outcome, usage, known_model=0 < exchange.status < 300)
        exchange.trace.end(reason, exchange.response.status, outcome, usage)
        if self.access_log.wants(reason):
            self.access_log.write(_record_of(exchange, reason, usage, self.router.clock()))

    def refused(self, reason: Reason, response: Response, head: RequestHead | None, request_id: str) -> None:
        """Account for a request that was not let in."""
        self.telemetry.rejected(UNKNOWN_CLASS, reason)
        if self.access_log.wants(reason):
            method, path = (head.method, head.target.decode("latin-1")) if head else ("", "")
            self.access_log.write(
                AccessRecord(time.time(), request_id, method, path, response.status, reason, seconds=0.0)
            )

    def answered(
        self,
        request_id: str,
        head: RequestHead,
        target: Target,
        caller: Principal,
        response: Response,
        arrived_at: float,
        reason: Reason,
    ) -> None:
        """Account for a request that the router answered itself."""
        if self.access_log.wants(reason):
            self.access_log.write(
                AccessRecord(
                    time=time.time(),
                    request_id=request_id,
                    method=head.method,
                    path=target.path,
                    status=response.status,
                    reason=reason,
                    seconds=self.router.clock() - arrived_at,
                    tenant=caller.tenant,
                    key=caller.name,
                    bytes_out=response.sent_bytes,
                )
            )

    def not_placed(self, admitted: "Admitted", reason: Reason) -> None:
        """Account for a request that was let in, and whose body was not what it should be."""
        self.telemetry.rejected(admitted.entry.service_class, reason)
        if self.access_log.wants(reason):
            self.access_log.write(
                AccessRecord(
                    time=time.time(),
                    request_id=admitted.request_id,
                    method=admitted.head.method,
                    path=admitted.entry.target.path,
                    status=admitted.response.status,
                    reason=reason,
                    seconds=self.router.clock() - admitted.arrived_at,
                    service_class=admitted.entry.service_class,
                    tenant=admitted.entry.caller.tenant,
                    key=admitted.entry.caller.name,
                )
            )


def _record_of(exchange: "Exchange", reason: Reason, usage: Usage | None, now: float) -> AccessRecord:
    request, attempts, admitted = exchange.request, exchange.attempts, exchange.admitted
    outcome = attempts.outcome
    return AccessRecord(
        time=time.time(),
        request_id=request.request_id,
        method=admitted.head.method,
        path=admitted.entry.target.path,
        status=exchange.response.status,
        reason=reason,
        seconds=now - request.arrived_at,
        service_class=request.service_class,
        model=request.model or None,
        tenant=admitted.entry.caller.tenant,
        key=admitted.entry.caller.name,
        endpoint=attempts.endpoint_name,
        queue_seconds=attempts.queue_seconds,
        ttft_seconds=outcome.ttft_seconds if outcome else None,
        tokens_in=usage.prompt_tokens if usage else None,
        tokens_out=usage.output_tokens if usage else (outcome.token_chunks or None if outcome else None),
        bytes_in=request.prompt_bytes,
        bytes_out=exchange.response.sent_bytes,
        retries=attempts.retries,
        trace_id=exchange.trace.trace_id or None,
    )
