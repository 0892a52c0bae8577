"""What a placement costs: decided in the same process, and asked of a decider in another.

    .venv/bin/python tests/bench/decision_cost.py                           about 20 seconds

A placement here is a submit and its end, at half as many requests in flight as there are endpoints. Asking is counted
in both processes together, on one core. With a queue everything is on, as in a router: classes and tenants with prompts of
all lengths wait for engines that are full; a decision is the one of a request that comes and has to wait, or the one who is next
when a request ends. A measurement, not a test that gates.
"""

import asyncio
import multiprocessing
import os
import socket
import time
from collections import deque
from random import Random
from statistics import fmean, median

import click
import uvloop

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.journal import Journal
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.decisions.types import Decision, EndpointView, Placement, RequestView, Slo, Ticket
from fairlead_router.garbage import settle as settle_garbage
from fairlead_router.relay.prompt_blocks import BLOCK_ENDS
from fairlead_router.workers.decider_server import DeciderServer
from fairlead_router.workers.remote_decider import RemoteDecider

REQUEST = RequestView("0123456789abcdef0123456789abcdef", "model", "default", 0.0, Slo(0.5, 0.1), True, 1000)
ROUNDS = 7
RULES = {
    "interactive": ClassRules(priority=10, share=0.6, on_unreachable=OnUnreachable.QUEUE),
    "batch": ClassRules(share=0.4, on_unreachable=OnUnreachable.QUEUE),
}
RUNNING_EACH = 4


def decider(endpoints: int, policy: str = "least-request") -> Decider:
    """Return a decider that knows so many endpoints."""
    made = Decider(POLICIES[policy](Random(0)))
    made.set_endpoints(EndpointView(f"uid-{n:08}", f"a:{n}", EndpointState.READY, f"n{n}") for n in range(endpoints))
    return made


def ticket_of(decision: Decision | None) -> Ticket:
    """Return the ticket of a request that was placed, as all are here."""
    assert isinstance(decision, Placement)
    return decision.ticket


def deciding(made: Decider, in_flight: int, placements: int) -> float:
    """Return the microseconds of a placement in this process."""
    running = deque(ticket_of(made.submit(REQUEST, 0.0)) for _ in range(in_flight))
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(placements):
            running.append(ticket_of(made.submit(REQUEST, 1.0)))
            made.end(running.popleft(), Reason.COMPLETED, 2.0, 200)
        taken.append((time.process_time() - begun) / placements * 1e6)
    return median(taken)


def busy(endpoints: int, queued: int, random: Random) -> tuple[Decider, "deque[Ticket]"]:
    """Return a decider whose endpoints are full, with so many requests that wait; and those that run."""
    admission = Admission(RULES, QueueLimits(requests=2 * queued, size_bytes=1 << 60, wait_seconds=1e6))
    made = Decider(POLICIES["rad"](random), admission=admission, journal=Journal("rad"))
    full = EngineLimits(max_num_seqs=RUNNING_EACH)
    made.set_endpoints(
        EndpointView(f"uid-{n:08}", f"a:{n}", EndpointState.READY, f"n{n}", limits=full) for n in range(endpoints)
    )
    running: deque[Ticket] = deque()
    while (decision := made.submit(request_of(random), 0.0)) is not None:
        running.append(ticket_of(decision))
        made.first_byte(running[-1], 0.5)
    for _ in range(queued - 1):
        assert made.submit(request_of(random), 0.5) is None
    return made, running


def request_of(random: Random) -> RequestView:
    """Return a request of some class and tenant."""
    service_class = random.choice(("interactive", "batch"))
    conversation = random.randrange(5000) << 32
    prefix = tuple(range(conversation, conversation + random.randrange(2, 16)))
    tenant = f"tenant-{random.randrange(20)}"
    prompt_bytes = 4 * BLOCK_ENDS[len(prefix) - 1] + random.randrange(500)
    return RequestView("id", "m", service_class, 0.0, Slo(), True, prompt_bytes, None, 200, prefix, BLOCK_ENDS, tenant)


def deciding_with_a_queue(endpoints: int, queued: int, decisions: int) -> dict[str, list[float]]:
    """Return the microseconds of each decision: of requests that come, and of room that somebody leaves."""
    random = Random(0)
    made, running = busy(endpoints, queued, random)
    taken: dict[str, list[float]] = {"a request comes and waits": [], "a request ends and the next is placed": []}
    comes, ends = taken.values()
    settle_garbage()
    for _ in range(decisions):
        request = request_of(random)
        begun = time.thread_time_ns()
        decision = made.submit(request, 1.0)
        made.next_due(1.0)
        comes.append((time.thread_time_ns() - begun) / 1e3)
        assert decision is None
        running.rotate(random.randrange(100))
        begun = time.thread_time_ns()
        made.end(running.popleft(), Reason.COMPLETED, 2.0, 200)
        settled = made.settle(2.0)
        made.next_due(2.0)
        ends.append((time.thread_time_ns() - begun) / 1e3)
        for _, placed in settled:
            running.append(ticket_of(placed))
            made.first_byte(running[-1], 2.0)
    return taken


def serve(listener: socket.socket, endpoints: int, used: "multiprocessing.sharedctypes.Synchronized[float]") -> None:
    """Be the decider process; say what processor time it has used."""

    async def run() -> None:
        server = DeciderServer(decider(endpoints), time.monotonic)
        server.open()
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        await server.accept(sock)
        while True:
            await asyncio.sleep(0.01)
            used.value = time.process_time()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def asking(remote: RemoteDecider, at_once: int, placements: int) -> None:
    """Ask for placements, so many at a time."""
    left = placements
    done = asyncio.Event()

    class Asker:
        """Asks for another when it has its place."""

        def queued(self) -> None:
            raise AssertionError("nobody waits here")

        def recalled(self) -> None:
            raise AssertionError("nobody waits for a place")

        def decided(self, decision: Decision) -> None:
            nonlocal left
            remote.end(ticket_of(decision), Reason.COMPLETED, 200)
            left -= 1
            if left >= at_once:
                remote.submit(REQUEST, frozenset(), self)
            elif not left:
                done.set()

    for _ in range(at_once):
        remote.submit(REQUEST, frozenset(), Asker())
    await done.wait()


async def asked(endpoints: int, placements: int) -> dict[int, float]:
    """Return the microseconds of a placement that is asked for, by how many ask at once."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen()
    listener.setblocking(False)
    forked = multiprocessing.get_context("fork")
    used = forked.Value("d", 0.0)
    process = forked.Process(target=serve, args=(listener, endpoints, used), daemon=True)
    process.start()
    remote = RemoteDecider(decider(endpoints), time.monotonic, Random(0))
    running = asyncio.create_task(remote.run(listener.getsockname()))
    while not remote.connected:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    found = {}
    for at_once in (1, 16):
        taken = []
        for _ in range(ROUNDS):
            before = time.process_time() + used.value
            await asking(remote, at_once, placements)
            await asyncio.sleep(0.05)  # until the other has said what it used
            taken.append((time.process_time() + used.value - before) / placements * 1e6)
        found[at_once] = median(taken)
    running.cancel()
    process.kill()
    process.join()
    return found


@click.command(help=__doc__)
@click.option("--placements", type=click.IntRange(100), default=5000, show_default=True, help="In each of 7 rounds.")
def main(placements: int) -> None:
    """Measure and print."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for policy in POLICIES:
        for endpoints in (10, 100, 1000):
            microseconds = deciding(decider(endpoints, policy), endpoints // 2, placements)
            click.echo(f"decided here, {policy}, {endpoints} endpoints: {microseconds:.1f} us")
    for endpoints, queued in ((10, 100), (1000, 1000), (1000, 10_000), (1000, 100_000)):
        for what, taken in deciding_with_a_queue(endpoints, queued, placements).items():
            ranked = sorted(taken)
            mean, rare = fmean(ranked), ranked[int(0.999 * len(ranked))]
            click.echo(f"{what}, {endpoints} endpoints, {queued} queued: {mean:.1f} us, p99.9 {rare:.1f} us")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for at_once, microseconds in runner.run(asked(8, placements)).items():
            click.echo(f"asked of another process, {at_once} at once, 8 endpoints: {microseconds:.1f} us")


if __name__ == "__main__":
    main()
