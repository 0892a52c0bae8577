"""Runs a fleet: arrivals, batches and failures in the order of their time, decisions by the router's own decider.

A router hears of its requests' first tokens and ends at the moment they happen: what lies between a router and its
engines is a fraction of a millisecond, and every batch takes tens of them. No engine waits for a router, though: when that
hears of the end of a batch, the next one has begun, and what it places then is in the one after that.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import inf

from fairlead_engine.blocks import BLOCK_TOKENS
from fairlead_engine.types import Request, Token
from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import Decision, EndpointView, Placement, RequestView, Ticket
from fairlead_simulator.fleet.meter import FleetMeter
from fairlead_simulator.fleet.peers import PEERS, EngineStats
from fairlead_simulator.fleet.pod import Pod
from fairlead_simulator.fleet.results import FleetFigures
from fairlead_simulator.fleet.scenario import Arrival, Failure, FleetScenario

OK = 200


class _Running:
    """A request on a pod, and the router that placed it."""

    __slots__ = ("arrival", "decider", "ticket")

    def __init__(self, arrival: Arrival, decider: Decider, ticket: Ticket) -> None:
        self.arrival = arrival
        self.decider = decider
        self.ticket = ticket


class Fleet:
    """One run, under way."""

    def __init__(self, scenario: FleetScenario) -> None:
        self._scenario = scenario
        self._pods = {f"pod-{index:04}": Pod(f"pod-{index:04}", spec) for index, spec in enumerate(scenario.pods)}
        self._scraped: dict[str, EngineStats] = {}
        self._deciders = [self._decider(index) for index in range(scenario.routers)]
        self._router_of = scenario.random("routers")
        self._slos = {spec.name: spec.slo for spec in scenario.classes}
        self._meter = FleetMeter(scenario.classes)
        self._running: dict[str, dict[str, _Running]] = {uid: {} for uid in self._pods}
        self._waiting: dict[str, tuple[Arrival, Decider]] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._show_pods()

    def run(self) -> FleetFigures:
        """Run until everything has ended, or the time is over."""
        scenario = self._scenario
        arrivals = scenario.arrivals()
        self._next_arrival(arrivals)
        if scenario.policy.name in PEERS:
            self._scrape(0.0)
        for failure in scenario.failures:
            self._fail_at(failure)
        until = scenario.seconds + scenario.drain_seconds
        while self._events and self._events[0][0] <= until:
            now, _, happen = heappop(self._events)
            happen(now)
        for arrival, _ in self._waiting.values():
            self._meter.rejected(arrival)
        for uid, running in self._running.items():
            for request_id in tuple(running):
                self._end(uid, request_id, Reason.TOTAL_TIMEOUT, until)
        return self._meter.figures(scenario.seconds, [pod.busy_seconds for pod in self._pods.values()])

    # Requests.

    def _next_arrival(self, arrivals: Iterator[Arrival]) -> None:
        arrival = next(arrivals, None)
        if arrival is None:
            return

        def happen(now: float) -> None:
            self._meter.offered(arrival)
            self._submit(arrival, self._router_of.choice(self._deciders), now, frozenset())
            self._next_arrival(arrivals)

        self._at(arrival.seconds, happen)

    def _submit(
        self, arrival: Arrival, decider: Decider, now: float, tried: frozenset[str], taken_from: str = ""
    ) -> None:
        decision = decider.submit(self._view(arrival, taken_from), now, tried)
        if decision is not None:
            self._decided(arrival, decider, decision, now)
            return
        self._waiting[str(arrival.number)] = arrival, decider
        due = decider.next_due(now)
        if due is not None:
            self._at(max(now, due), lambda now: self._settle(decider, now))

    def _settle(self, decider: Decider, now: float) -> None:
        """Carry out what a router has decided of requests that waited."""
        for request, decision in decider.settle(now):
            arrival, _ = self._waiting.pop(request.request_id)
            self._decided(arrival, decider, decision, now)
        while (ticket := decider.recall(now)) is not None:
            self._take_back(ticket, now)
            self._settle(decider, now)

    def _take_back(self, ticket: Ticket, now: float) -> None:
        """Give a place to a more urgent request, and let this one wait again."""
        uid, request_id = ticket.endpoint.uid, ticket.request.request_id
        running = self._running[uid].pop(request_id)
        self._pods[uid].abort(request_id)
        running.decider.end(ticket, Reason.TAKEN_BACK, now)
        self._submit(running.arrival, running.decider, now, frozenset(), taken_from=uid)

    def _decided(self, arrival: Arrival, decider: Decider, decision: Decision, now: float) -> None:
        if isinstance(decision, Placement):
            self._place(_Running(arrival, decider, decision.ticket), now)
        else:
            self._meter.rejected(arrival)

    def _view(self, arrival: Arrival, taken_from: str) -> RequestView:
        lengths = arrival.lengths
        service_class = arrival.stream.service_class
        return RequestView(
            str(arrival.number),
            "model",
            service_class,
            arrival.seconds,
            self._slos[service_class],
            streamed=True,
            prompt_tokens=lengths.prompt_tokens,
            prefix=lengths.block_hashes[: lengths.prompt_tokens // BLOCK_TOKENS],
            prefix_ends=range(BLOCK_TOKENS, lengths.prompt_tokens + 1, BLOCK_TOKENS),
            tenant=arrival.tenant,
            taken_from=taken_from,
        )

    def _place(self, running: _Running, now: float) -> None:
        arrival, uid = running.arrival, running.ticket.endpoint.uid
        lengths = arrival.lengths
        request = Request(
            str(arrival.number),
            lengths.prompt_tokens,
            lengths.output_tokens,
            slo_class=arrival.stream.service_class,
            tbt_limit_seconds=self._slos[arrival.stream.service_class].tbt_seconds,
            block_hashes=lengths.block_hashes,
        )
        self._running[uid][request.request_id] = running
        self._pods[uid].add(request, now)
        self._begin(self._pods[uid], now)

    def _end(self, uid: str, request_id: str, reason: Reason, now: float) -> None:
        running = self._running[uid].pop(request_id)
        status = OK if running.ticket.token_chunks else 0
        self._meter.ended(running.arrival, running.decider.end(running.ticket, reason, now, status))

    # Batches.

    def _begin(self, pod: Pod, now: float) -> None:
        end = pod.begin(now)
        if end is None:
            return
        epoch = pod.epoch

        def happen(now: float) -> None:
            if pod.epoch == epoch:
                tokens = pod.end(now)
                self._begin(pod, now)
                self._tokens(pod, tokens, now)
                for decider in self._deciders:
                    self._settle(decider, now)

        self._at(end, happen)

    def _tokens(self, pod: Pod, tokens: list[Token], now: float) -> None:
        """Hand out the tokens of a batch. This loop runs once per token."""
        of_pod = self._running[pod.uid]
        for token in tokens:
            running = of_pod[token.request_id]
            ticket = running.ticket
            if ticket.ttft is None:
                ticket.first_token(now)
                running.decider.first_byte(ticket, now)
            else:
                ticket.further_tokens(1, now)
            if token.finished:
                self._end(pod.uid, token.request_id, Reason.COMPLETED, now)

    # Pods.

    def _fail_at(self, failure: Failure) -> None:
        uid = list(self._pods)[failure.pod]
        self._at(failure.start, lambda now: self._fail(uid, now))
        if failure.end < inf:
            self._at(failure.end, lambda now: self._restart(uid, now))

    def _fail(self, uid: str, now: float) -> None:
        """Lose a pod: what it has begun to answer is lost with it, everything else goes elsewhere."""
        self._pods[uid].fail()
        self._show_pods()
        for request_id, running in tuple(self._running[uid].items()):
            if running.ticket.token_chunks:
                self._end(uid, request_id, Reason.ENGINE_DISCONNECTED, now)
            else:
                del self._running[uid][request_id]
                running.decider.end(running.ticket, Reason.ENGINE_UNREACHABLE, now)
                self._submit(running.arrival, running.decider, now, frozenset({uid}))

    def _restart(self, uid: str, now: float) -> None:
        self._pods[uid].restart()
        self._show_pods()
        self._begin(self._pods[uid], now)

    def _show_pods(self) -> None:
        views = [_view_of(pod) for pod in self._pods.values()]
        for decider in self._deciders:
            decider.set_endpoints(views)

    def _decider(self, index: int) -> Decider:
        scenario = self._scenario
        admission = None
        if scenario.policy.admission:
            admission = Admission({spec.name: spec.rules for spec in scenario.classes}, scenario.queue)
        name, random = scenario.policy.name, scenario.random(f"router-{index}")
        policy = PEERS[name](self._scraped, random) if name in PEERS else POLICIES[name](random)
        return Decider(policy, admission=admission)

    def _scrape(self, now: float) -> None:
        """Read every engine's metrics, and again after a while, as long as requests come."""
        self._scraped.update((uid, pod.stats) for uid, pod in self._pods.items())
        if now < self._scenario.seconds:
            self._at(now + self._scenario.scrape_seconds, self._scrape)

    def _at(self, seconds: float, happen: Callable[[float], None]) -> None:
        heappush(self._events, (seconds, next(self._order), happen))


def _view_of(pod: Pod) -> EndpointView:
    state = EndpointState.READY if pod.up else EndpointState.NOT_READY
    return EndpointView(pod.uid, f"{pod.uid}:8000", state, pod.uid, limits=pod.limits)


def simulate_fleet(scenario: FleetScenario) -> FleetFigures:
    """Run a scenario to its end."""
    return Fleet(scenario).run()
