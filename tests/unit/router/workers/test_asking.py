"""Workers ask the decider, and go on alone while there is none; whoever decides, the ledgers agree."""

import asyncio
import contextlib
import socket
import time
from random import Random

import pytest

from fairlead_router.contract import BreakerState, EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.rules import ClassRules, QueueLimits
from fairlead_router.decisions.types import EndpointView, Placement, Quota, Rejection, RequestView, Slo
from fairlead_router.relay.prompt_blocks import BLOCK_ENDS
from fairlead_router.workers.asking import submission, submitted
from fairlead_router.workers.decider_server import DeciderServer
from fairlead_router.workers.remote_decider import SILENCE_SECONDS, RemoteDecider

REQUEST = RequestView("r", "m", "c", arrived_at=0.0)
NO_RULES: dict[str, ClassRules] = {}


def own_decider(
    *uids: str, admission: Admission | None = None, at_once: int = 1024, policy: str = "least-request"
) -> Decider:
    made = Decider(POLICIES[policy](Random(0)), admission=admission)
    limits = EngineLimits(max_num_seqs=at_once)
    made.set_endpoints(EndpointView(uid, f"{uid}:1", EndpointState.READY, uid, limits=limits) for uid in uids)
    return made


def loads(decider: Decider) -> dict[str, int]:
    return {view.uid: view.in_flight for view in decider.endpoints(time.monotonic())}


class Hub:
    """A decider process without the process: it can be lost, and come back as another."""

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind("")
        self._listener.listen()
        self._listener.setblocking(False)
        self.address = self._listener.getsockname()
        self.server: DeciderServer
        self._accepting: asyncio.Task[None] | None = None

    def start(self, *uids: str, open_: bool = True, rules: dict[str, ClassRules] = NO_RULES, **how: object) -> None:
        admission = Admission(rules, QueueLimits(requests=3))
        self.server = DeciderServer(own_decider(*uids, admission=admission, **how), time.monotonic)
        if open_:
            self.server.open()
        self._accepting = asyncio.create_task(self._accept(self.server))

    async def lose(self) -> None:
        await self._stop_accepting()
        self.server.close()

    async def _accept(self, server: DeciderServer) -> None:
        while True:
            await server.accept(await self.accepted())

    async def accepted(self) -> socket.socket:
        """The next connection of a worker."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        return sock

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._accepting
            self._accepting = None

    async def close(self) -> None:
        if self._accepting is not None:
            await self.lose()
        self._listener.close()

    @property
    def loads(self) -> dict[str, int]:
        return loads(self.server.decider)


class Asked:
    """A request that waits for its answer."""

    def __init__(self, request: RequestView) -> None:
        self.request = request
        self.is_queued = self.is_recalled = False
        self._decided: asyncio.Future[Placement | Rejection] = asyncio.get_running_loop().create_future()

    def queued(self) -> None:
        self.is_queued = True

    def decided(self, decision: Placement | Rejection) -> None:
        self._decided.set_result(decision)

    def recalled(self) -> None:
        self.is_recalled = True

    @property
    def answered(self) -> bool:
        return self._decided.done()

    async def answer(self) -> Placement | Rejection:
        return await asyncio.wait_for(self._decided, 5)


class Worker:
    """A worker without its sockets."""

    def __init__(self, address: bytes, *uids: str) -> None:
        self.own = own_decider(*uids)
        self.remote = RemoteDecider(self.own, time.monotonic, Random(0))
        self.running = asyncio.create_task(self.remote.run(address))

    async def submit(self, tried: frozenset[str] = frozenset()) -> Placement | Rejection:
        return await self.ask(tried).answer()

    def ask(self, tried: frozenset[str] = frozenset(), **changes: object) -> "Asked":
        asked = Asked(REQUEST._replace(**changes))
        decision = self.remote.submit(asked.request, tried, asked)
        if decision is not None:
            asked.decided(decision)
        return asked

    async def place(self) -> object:
        return (await self.submit()).ticket

    def end(self, ticket: object, reason: Reason = Reason.COMPLETED, status: int = 200) -> None:
        self.remote.end(ticket, reason, status)

    async def stop(self) -> None:
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running


@pytest.fixture
async def hub():
    made = Hub()
    yield made
    await made.close()


@pytest.fixture
async def worker(hub, kit):
    """Start workers."""
    started = []

    async def start(*uids: str, connected: bool = True) -> Worker:
        made = Worker(hub.address, *(uids or "ab"))
        started.append(made)
        await kit.until(lambda: made.remote.connected or not connected, "the worker is connected")
        return made

    yield start
    for each in started:
        await each.stop()


async def test_a_prompt_goes_where_it_has_been(hub, worker):
    hub.start("a", "b", "c", policy="rad")
    asking = await worker("a", "b", "c")
    prompt = {"prompt_bytes": 40_000, "prefix": tuple(range(14)), "prefix_ends": BLOCK_ENDS}
    places = set()
    for _ in range(5):
        placement = await asking.ask(**prompt).answer()
        places.add(placement.ticket.endpoint.uid)
        asking.end(placement.ticket)
    assert len(places) == 1


def test_a_request_arrives_at_the_decider_as_it_was_asked():
    request = RequestView(
        "id", "model", "class", 12.5, Slo(0.5, None), True, 7, None, 100, (2**63, 5), BLOCK_ENDS, "acme", 3, True, Quota(9, None),
        "a", 9, 1.5,
    )  # fmt: skip
    assert submitted(submission(3, request, {"a", "b"})) == (request, {"a", "b"})


async def test_the_decider_knows_the_requests_of_all_workers(hub, worker):
    hub.start("a", "b")
    one, other = await worker(), await worker()
    tickets = [await one.place(), await other.place(), await one.place(), await other.place()]
    assert hub.loads == {"a": 2, "b": 2}
    one.end(tickets[0])
    assert (await other.place()).endpoint.uid == tickets[0].endpoint.uid


async def test_a_place_that_is_given_back_is_free_again_at_the_decider(hub, worker, kit):
    hub.start("a")
    one = await worker("a")
    one.end(await one.place())
    await kit.until(lambda: hub.loads == {"a": 0}, "the place is free")
    assert loads(one.own) == {"a": 0}


async def test_requests_of_one_moment_are_all_answered(hub, worker):
    hub.start("a", "b")
    one = await worker()
    tickets = await asyncio.gather(*(one.place() for _ in range(50)))
    assert len(set(tickets)) == 50
    assert hub.loads == loads(one.own) == {"a": 25, "b": 25}


async def test_a_rejection_comes_with_its_reason(hub, worker):
    hub.start("a")
    one = await worker("a")
    rejection = await one.submit(tried=frozenset("a"))
    assert rejection.reason is Reason.NO_ENDPOINT
    assert "1 tried" in rejection.message


async def test_a_place_on_an_endpoint_that_the_worker_does_not_know_is_turned_down_for_another(hub, worker, kit):
    hub.start("a", "b")
    one = await worker("b")
    tickets = [await one.place() for _ in range(4)]
    assert {ticket.endpoint.uid for ticket in tickets} == {"b"}
    await kit.until(lambda: hub.loads == {"a": 0, "b": 4}, "the places that were turned down are free")


async def test_a_worker_decides_alone_until_there_is_a_decider(hub, worker, kit):
    one = await worker(connected=False)
    await one.place()
    assert not one.remote.connected
    hub.start("a", "b")
    await kit.until(lambda: one.remote.connected, "the worker is connected")
    assert hub.loads == loads(one.own)


async def test_a_decider_that_does_not_know_the_pool_yet_is_not_asked(hub, worker, kit):
    hub.start("a", "b", open_=False)
    one = await worker(connected=False)
    await kit.until(lambda: hub.server.workers == 1, "the worker has called")
    assert isinstance(await one.submit(), Placement)
    hub.server.open()
    await kit.until(lambda: one.remote.connected, "the worker is connected")
    await kit.until(lambda: sum(hub.loads.values()) == 1, "the decider knows what runs")


async def test_requests_that_wait_when_the_decider_is_lost_are_decided_by_the_worker(hub, worker, kit):
    hub.start("a", "b")
    one = await worker()
    waiting = [asyncio.create_task(one.submit()) for _ in range(10)]
    await asyncio.sleep(0)
    await hub.lose()
    assert all([isinstance(await each, Placement) for each in waiting])
    await kit.until(lambda: not one.remote.connected, "the worker has noticed")
    assert loads(one.own) == {"a": 5, "b": 5}


async def test_a_decider_that_comes_back_knows_what_runs_and_what_ends(hub, worker, kit):
    hub.start("a", "b")
    one, other = await worker(), await worker()
    before = [await one.place() for _ in range(3)] + [await other.place() for _ in range(3)]
    await hub.lose()
    await kit.until(lambda: not (one.remote.connected or other.remote.connected), "both have noticed")
    meanwhile = await one.place()
    one.end(before[0])
    hub.start("a", "b")
    await kit.until(lambda: one.remote.connected and other.remote.connected, "both are connected")
    await kit.until(lambda: sum(hub.loads.values()) == 6, "the decider knows what runs")
    for ticket, of in [*zip(before[1:], [one, one, other, other, other], strict=True), (meanwhile, one)]:
        of.end(ticket)
    await kit.until(lambda: hub.loads == {"a": 0, "b": 0}, "the decider knows that nothing runs")


async def test_a_worker_that_is_lost_gives_back_its_places_and_no_others(hub, worker, kit):
    hub.start("a", "b")
    one, other = await worker(), await worker()
    for _ in range(4):
        await one.place()
    kept = [await other.place(), await other.place()]
    await one.stop()
    await kit.until(lambda: sum(hub.loads.values()) == len(kept), "the places are free")


async def test_a_decider_that_falls_silent_holds_nobody_up_for_long(hub, worker, kit):
    one = await worker(connected=False)
    mute = await hub.accepted()
    mute.send(b'\0\0\0\x0e[["hello", 1]]')
    await kit.until(lambda: one.remote.connected, "the worker is connected")
    begun = time.monotonic()
    assert isinstance(await one.submit(), Placement)
    assert time.monotonic() - begun < 2 * SILENCE_SECONDS
    assert not one.remote.connected
    mute.close()


async def test_the_decider_learns_from_every_end(hub, worker, kit):
    hub.start("a", "b")
    one = await worker()
    refused = await one.place()
    one.end(refused, Reason.ENGINE_UNREACHABLE, 0)

    def breaker() -> BreakerState:
        (view,) = (view for view in hub.server.decider.endpoints(time.monotonic()) if view.uid == refused.endpoint.uid)
        return view.breaker

    await kit.until(lambda: breaker() is BreakerState.OPEN, "the decider avoids the endpoint")
    assert {(await one.place()).endpoint.uid for _ in range(3)} == {"a", "b"} - {refused.endpoint.uid}


async def test_the_first_byte_of_a_trial_closes_the_breaker_for_all(hub, worker, kit):
    hub.start("a")
    one, other = await worker("a"), await worker("a")
    one.end(await one.place(), Reason.ENGINE_UNREACHABLE, 0)
    await kit.until(
        lambda: hub.server.decider.endpoints(time.monotonic())[0].breaker is BreakerState.OPEN, "it is open"
    )
    trial = await other.place()
    assert trial.trial
    other.remote.first_byte(trial)
    await kit.until(
        lambda: hub.server.decider.endpoints(time.monotonic())[0].breaker is BreakerState.CLOSED, "it is closed"
    )
    other.end(trial)


async def test_a_request_waits_at_the_decider_until_another_worker_s_ends(hub, worker, kit):
    hub.start("a", at_once=1)
    one, other = await worker("a"), await worker("a")
    first = await one.place()
    asked = other.ask()
    await kit.until(lambda: asked.is_queued, "it waits")
    one.end(first)
    placed = await asked.answer()
    assert placed.ticket.endpoint.uid == "a"
    assert loads(other.own) == hub.loads == {"a": 1}


async def test_the_queue_of_all_workers_is_one_and_its_refusal_says_when_to_come_back(hub, worker, kit):
    hub.start("a", at_once=1)
    one, other = await worker("a"), await worker("a")
    await one.place()
    asked = [one.ask(), other.ask(), other.ask()]
    await kit.until(lambda: all(each.is_queued for each in asked), "they wait")
    refusal = await one.submit()
    assert refusal.reason is Reason.QUEUE_FULL
    assert refusal.retry_after_seconds >= 1


async def test_a_request_that_is_cancelled_leaves_the_queue(hub, worker, kit):
    hub.start("a", at_once=1)
    one = await worker("a")
    first = await one.place()
    gone, stays = one.ask(), one.ask()
    await kit.until(lambda: gone.is_queued and stays.is_queued, "they wait")
    one.remote.cancel(gone.request)
    one.end(first)
    assert isinstance(await stays.answer(), Placement)
    assert not gone.answered
    assert hub.loads == {"a": 1}


async def test_a_place_that_crosses_its_cancellation_is_given_back(hub, worker, kit):
    hub.start("a")
    one = await worker("a")
    asked = one.ask()
    one.remote.cancel(asked.request)  # both are sent in one go, and the answer to the first comes
    await one.place()
    await kit.until(lambda: hub.loads == {"a": 1}, "the first place is free")
    assert not asked.answered
    assert loads(one.own) == {"a": 1}


@pytest.fixture
async def recalled(hub, worker, kit):
    """A worker whose place is asked back for a request of another, its request and its ticket, and that other request."""
    hub.start("a", at_once=1, rules={"urgent": ClassRules(priority=1), "c": ClassRules()})
    one, other = await worker("a"), await worker("a")
    asked = one.ask(streamed=True)
    ticket = (await asked.answer()).ticket
    urgent = other.ask(service_class="urgent", arrived_at=time.monotonic(), slo=Slo(0.4, None), streamed=True)
    await kit.until(lambda: asked.is_recalled, "the place is asked back")
    return one, asked, ticket, urgent


async def test_a_place_is_asked_back_from_the_worker_that_has_it_for_a_request_of_another(hub, recalled, kit):
    one, asked, ticket, urgent = recalled
    one.end(ticket, Reason.TAKEN_BACK, 0)
    again = one.ask(**asked.request._replace(taken_from="a")._asdict())
    assert (await urgent.answer()).ticket.endpoint.uid == "a"
    await kit.until(lambda: again.is_queued, "it waits again")
    assert hub.loads == {"a": 1}
    assert loads(one.own) == {"a": 0}


async def test_a_worker_that_keeps_the_place_says_nothing(hub, recalled):
    one, _, ticket, urgent = recalled
    one.remote.first_byte(ticket)
    assert (await urgent.answer()).reason is Reason.SLO_UNREACHABLE
    one.end(ticket)


async def test_a_place_that_was_given_back_meanwhile_is_not_asked_of_anybody(hub, worker, kit):
    hub.start("a")
    one = await worker("a")
    asked = one.ask()
    one.end((await asked.answer()).ticket)
    one.remote._receive(("recall", 1))
    assert not asked.is_recalled


async def test_requests_that_wait_are_gone_with_their_worker(hub, worker, kit):
    hub.start("a", at_once=1)
    one, other = await worker("a"), await worker("a")
    first = await other.place()
    lost = one.ask()
    await kit.until(lambda: lost.is_queued, "it waits")
    stays = other.ask()
    await kit.until(lambda: stays.is_queued, "it waits behind")
    await one.stop()
    await kit.until(lambda: hub.server.workers == 1, "the decider has lost the worker")
    other.end(first)
    assert isinstance(await stays.answer(), Placement)
    assert not lost.answered
    assert hub.loads == {"a": 1}


async def test_requests_that_wait_in_the_queue_when_the_decider_is_lost_are_placed_by_their_worker(hub, worker, kit):
    hub.start("a", at_once=1)
    one = await worker("a")
    await one.place()
    asked = [one.ask(), one.ask()]
    await kit.until(lambda: all(each.is_queued for each in asked), "they wait")
    await hub.lose()
    assert all([isinstance(await each.answer(), Placement) for each in asked])
    assert loads(one.own) == {"a": 3}
    hub.start("a", at_once=1)
    await kit.until(lambda: hub.loads == {"a": 3}, "another decider knows what runs")


@pytest.mark.parametrize("seed", range(8))
async def test_whoever_waits_gives_up_or_loses_the_decider_every_place_is_given_back(hub, worker, kit, seed):
    random = Random(seed)
    hub.start("a", "b", at_once=2)
    workers = [await worker("a", "b") for _ in range(3)]
    asked: list[tuple[Worker, Asked]] = []
    for _ in range(200):
        if asked and random.random() < 0.4:
            of, one = asked.pop(random.randrange(len(asked)))
            if not one.answered:
                of.remote.cancel(one.request)
            elif isinstance(placed := await one.answer(), Placement):
                of.end(placed.ticket)
        else:
            each = random.choice(workers)
            asked.append((each, each.ask()))
        if random.random() < 0.3:
            await asyncio.sleep(0)
        if random.random() < 0.02:
            await hub.lose()
            hub.start("a", "b", at_once=2)
    while asked:
        await kit.until(lambda: any(one.answered for _, one in asked), "somebody is told")
        for of, one in [each for each in asked if each[1].answered]:
            asked.remove((of, one))
            if isinstance(placed := await one.answer(), Placement):
                of.end(placed.ticket)
    await kit.until(lambda: hub.loads == {"a": 0, "b": 0}, "nothing runs")
    assert [loads(each.own) for each in workers] == [{"a": 0, "b": 0}] * 3


@pytest.mark.parametrize("seed", range(8))
async def test_after_any_history_the_decider_counts_what_runs(hub, worker, kit, seed):
    random = Random(seed)
    hub.start("a", "b", "c")
    workers = [await worker("a", "b", "c") for _ in range(3)]
    running: list[tuple[Worker, object]] = []
    for _ in range(120):
        each = random.choice(workers)
        if running and random.random() < 0.45:
            of, ticket = running.pop(random.randrange(len(running)))
            of.end(ticket)
        else:
            running.append((each, await each.place()))
        if random.random() < 0.04:
            await hub.lose()
            hub.start("a", "b", "c")
    await kit.until(lambda: all(each.remote.connected for each in workers), "all are connected")
    truth = dict.fromkeys("abc", 0)
    for _, ticket in running:
        truth[ticket.endpoint.uid] += 1
    await kit.until(lambda: hub.loads == truth, "the decider counts what runs")
    own = [loads(each.own) for each in workers]
    assert {uid: sum(each[uid] for each in own) for uid in truth} == truth
