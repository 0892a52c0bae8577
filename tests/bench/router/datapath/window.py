"""One measurement: a router in front of fresh pods, put under load, and what it did and took in a window of time."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datapath.figures import DISTURBED, Buckets, Figures, buckets, least_disturbed, quantile_between
from datapath.machine import CoreTimes, Placement, core_times, wait_until_quiet
from datapath.native import Load, LoadPlan, Pods, PodStats, Tools, load
from datapath.processes import Group, cpu_seconds
from datapath.targets import KEY, Site, Target, UnavailableError

POD_COUNT = 8
START_SECONDS = 60.0
SETTLE_SECONDS = 10.0
QUIET_SECONDS = 30.0
"""How long to wait for others to become quiet."""
_LAG = "fairlead_router_loop_lag_seconds"


@dataclass(frozen=True, slots=True)
class Moment:
    """Counters at one end of a window."""

    router_cpu_seconds: float | None
    """None where there is no router."""
    measuring_cpu_seconds: float
    """Of pods and load source."""
    measuring_cores: CoreTimes
    all_cores: CoreTimes
    """Those of the router, of the pods and of the load source."""


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in a window: what the load source saw, what the pods did, what the router took."""

    load: dict[str, Any]
    pods: PodStats
    begin: Moment
    end: Moment
    placement: Placement
    lag_p99_seconds: float | None
    """Of the router's event loop, from before the load began to the end of the window; None where it does not tell."""

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return float(self.load["seconds"])

    @property
    def router_cpu_seconds(self) -> float | None:
        """Processor time of the router in the window; None where there is none."""
        begin, end = self.begin.router_cpu_seconds, self.end.router_cpu_seconds
        return None if begin is None or end is None else end - begin

    def router_cpu_per(self, count: int) -> float | None:
        """Return the processor time of the router for each of so many things, in seconds."""
        taken = self.router_cpu_seconds
        return None if taken is None or not count else taken / count

    @property
    def others_share(self) -> float:
        """Share of the cores that neither router nor measuring side took, but other processes and other machines."""
        begin, end = self.begin.all_cores, self.end.all_cores
        taken = end.busy_seconds - begin.busy_seconds + end.stolen_seconds - begin.stolen_seconds
        ours = self.end.measuring_cpu_seconds - self.begin.measuring_cpu_seconds + (self.router_cpu_seconds or 0.0)
        return max(0.0, taken - ours) / self.seconds / len(self.placement.all)

    @property
    def errors(self) -> int:
        """Requests that went wrong, since the load began."""
        return sum(self.load["errors"].values())

    def common(self) -> Figures:
        """Return the figures that every case has: how far the two sides were from full, and what disturbed them."""
        measuring = self.end.measuring_cores.busy_seconds - self.begin.measuring_cores.busy_seconds
        return {
            "errors": float(self.errors),
            "router_share": None if self.router_cpu_seconds is None else self.router_cpu_seconds / self.seconds,
            "measuring_share": measuring / self.seconds / len(self.placement.measuring),
            "others_share": self.others_share,
            "pods_late_p99_ms": self.pods.late_p99_ms,
            "lag_p99_ms": None if self.lag_p99_seconds is None else self.lag_p99_seconds * 1e3,
        }


@dataclass(frozen=True, slots=True)
class Running:
    """A router in front of its pods; of `direct` there are only the pods."""

    tools: Tools
    placement: Placement
    pods: Pods
    ports: tuple[int, ...]
    """Where the load goes to."""
    group: Group | None = None
    admin_port: int | None = None
    folder: Path = field(default_factory=Path)
    patience: int = 0
    """How often a disturbed window is measured again."""

    def moment(self, load_source: Load) -> Moment:
        """Read the counters."""
        return Moment(
            self.group.cpu_seconds() if self.group else None,
            cpu_seconds(self.pods.pid) + cpu_seconds(load_source.pid),
            core_times(self.placement.measuring),
            core_times(self.placement.all),
        )

    def lag(self) -> Buckets:
        """Ask the router for the lag of its event loop; outside the window, because answering costs it time."""
        if self.admin_port is None:
            return {}
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return buckets(text, _LAG)

    @contextmanager
    def under(self, plan: LoadPlan) -> Iterator[Window]:
        """Load the router; give the window when it is over, while the load goes on, and wait until all of it has ended."""
        lag = self.lag()
        with load(self.tools.load, plan, self.ports, self.placement.load) as running:
            running.wait_for("begin")
            begin = self.moment(running)
            self.pods.stats()
            running.wait_for("end")
            end, pods = self.moment(running), self.pods.stats()
            lag_p99_seconds = quantile_between(lag, self.lag(), 0.99)
            yield Window(running.wait_for("result"), pods, begin, end, self.placement, lag_p99_seconds)
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.pods.stats().open_streams and time.monotonic() < deadline:
            time.sleep(0.02)

    def measure(self, plan: LoadPlan) -> Window:
        """Load the router for one window, and no longer; again where others disturbed it and this run has patience."""

        def once() -> Window:
            with self.under(plan) as window:
                return window

        cores = sorted(self.placement.all)
        return least_disturbed(once, lambda: wait_until_quiet(cores, DISTURBED, QUIET_SECONDS), self.patience)


@contextmanager
def running(
    target: Target | None, tools: Tools, placement: Placement, folder: Path, patience: int = 0
) -> Iterator[Running]:
    """Start pods and a router in front of them, wait until it reaches every pod, and stop all of it at the end.

    Raises
    ------
    UnavailableError
        The router does not start, or does not do what the target is for.

    """
    with ExitStack() as stack:
        pods = Pods(tools.pods, POD_COUNT, placement.pods)
        stack.callback(pods.stop)
        if target is None:
            yield Running(tools, placement, pods, pods.ports, folder=folder, patience=patience)
            return
        home = folder / target.name
        home.mkdir(parents=True, exist_ok=True)
        port, admin_port = free_ports(2)
        group = Group(target.command(Site(port, admin_port, pods.ports, home)), placement.router, home / "log")
        stack.callback(group.stop)
        _wait_until_ready(group, port, pods)
        if target.wants_key and (status := ask(port, None)) != http.client.UNAUTHORIZED:
            raise UnavailableError(f"a request without a key got {status}, not 401: keys are not looked at")
        lag_port = admin_port if target.tells_lag else None
        yield Running(tools, placement, pods, (port,), group, lag_port, folder, patience)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(group: Group, port: int, pods: Pods) -> None:
    """Send requests until each pod has had one."""
    reached = [0] * len(pods.ports)
    deadline = time.monotonic() + START_SECONDS
    problem = "no answer"
    while not all(reached):
        if not group.runs:
            raise UnavailableError(f"it ended at its start: {group.last_words()}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"not ready after {START_SECONDS:.0f} s: {problem}; {group.last_words()}")
        try:
            status = ask(port, KEY)
            problem = f"status {status}"
        except OSError as error:
            status, problem = 0, str(error)
        if status != http.client.OK:
            time.sleep(0.05)
        reached = [before + now for before, now in zip(reached, pods.stats().requests, strict=True)]


def ask(port: int, key: str | None) -> int:
    """Send one small request, and return the status of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        body = {"model": "bench", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 1}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def write_request(folder: Path, *, prompt_bytes: int, tokens: int) -> Path:
    """Write a chat request as OpenAI's Python client sends it; of a stream with so many tokens, or of a whole answer."""
    words = "The quick brown fox jumps over the lazy dog and runs on. "
    prompt = (words * (prompt_bytes // len(words) + 1))[:prompt_bytes]
    document: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "model": "bench"}
    document |= {"max_tokens": tokens or 16, "temperature": 0.7, "stream": tokens > 0}
    if tokens:
        document["stream_options"] = {"include_usage": True}
    body = json.dumps(document).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        f"User-Agent: OpenAI/Python 2.8.1\r\nX-Stainless-Lang: python\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    path = folder / f"request-{prompt_bytes}-{tokens}.http"
    path.write_bytes(head.encode() + body)
    return path
