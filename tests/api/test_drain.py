"""Engines that are to go, against a real API server: routers are told first, and asked until nothing runs there.

Routers here are pods only on the API server; a stand-in answers at their admin port, or, where streams are cut or not,
a real router in front of real engines.
"""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from control_plane import ROOT, Cluster, Operator, eventually, free_port, spawn, stop
from kubelet import bind, kubelet
from pool_on_api import Pool

MARK = "fairlead.dev/draining"


class StandIn:
    """What a router says at its admin port: requests in flight by the engines' names, and which it knows to drain."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.in_flight: dict[str, int] = {}
        self.follows = True
        self.asked = 0

    def answer(self) -> list[dict[str, Any]]:
        self.asked += 1
        return [
            {
                "uid": pod["metadata"]["uid"],
                "state": "draining" if self.follows and marked(pod) else "ready",
                "inFlight": self.in_flight.get(pod["metadata"]["name"], 0),
            }
            for pod in self.pool.pods()
        ]


def marked(pod: dict[str, Any]) -> str:
    mark: str = pod["metadata"].get("annotations", {}).get(MARK, "")
    return mark


def uids(pool: Pool) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pool.pods()}


def draining(pool: Pool) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in pool.pods() if marked(pod))


@contextmanager
def served(answer: Callable[[], Any]) -> Iterator[int]:
    """Answer every GET with what `answer` gives, as JSON, and give the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def router_pod(pool: Pool, name: str, admin_port: int) -> None:
    """Make a pod that runs, as the routers' Deployment and a kubelet would."""
    labels = {"fairlead.dev/pool": "chat", "fairlead.dev/component": "router"}
    ports = [{"name": "admin", "containerPort": admin_port}]
    spec = {"containers": [{"name": "router", "image": "router:test", "ports": ports}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
    pool.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    running = {"name": "router", "image": "x", "imageID": "", "ready": True, "restartCount": 0}
    running["state"] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    patch = json.dumps({"status": {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [running]}})
    pool.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)


@pytest.fixture
def router(pool: Pool) -> Iterator[StandIn]:
    """The router of a pool of three engines that serve."""
    stand_in = StandIn(pool)
    with served(stand_in.answer) as port:
        router_pod(pool, "chat-router-0", port)
        pool.apply(replicas=3)
        pool.settle()
        yield stand_in


@pytest.mark.usefixtures("operator")
def test_the_engine_with_the_fewest_requests_goes_when_they_have_ended(pool: Pool, router: StandIn) -> None:
    router.in_flight = {"chat-engine-0": 2, "chat-engine-1": 1, "chat-engine-2": 3}
    pool.kubectl("scale", "fpool/chat", "--replicas=2")
    eventually(lambda: draining(pool) == ["chat-engine-1"], "the least busy engine drains")
    eventually(lambda: pool.condition("Draining")["reason"] == "WaitingForRequests", "what it waits for")
    assert "chat-engine-1 until " in pool.condition("Draining")["message"]
    assert pool.condition("Draining")["message"].endswith(": 1 in flight")
    assert pool.status()["drainingReplicas"] == 1
    assert pool.status()["readyReplicas"] == 2
    seen = router.asked
    eventually(lambda: router.asked >= seen + 4, "some seconds of waiting")
    assert draining(pool) == ["chat-engine-1"], "it has a request still"
    router.in_flight["chat-engine-1"] = 0
    eventually(lambda: pool.names() == ["chat-engine-0", "chat-engine-2"], "it is deleted")
    eventually(lambda: pool.condition("Draining")["status"] == "False", "nothing drains")
    described = eventually(
        lambda: "EngineRemoved" in (text := pool.kubectl("describe", "fpool", "chat")) and text, "the events"
    )
    assert "draining chat-engine-1: the pool was scaled down" in described
    assert "removed chat-engine-1: nothing runs there any more" in described


@pytest.mark.usefixtures("operator")
def test_every_router_is_asked(pool: Pool, router: StandIn) -> None:
    other = StandIn(pool)
    other.in_flight = {"chat-engine-2": 1}
    with served(other.answer) as port:
        router_pod(pool, "chat-router-1", port)
        router.in_flight = {"chat-engine-0": 2, "chat-engine-1": 2}
        pool.kubectl("scale", "fpool/chat", "--replicas=2")
        eventually(lambda: pool.condition("Draining")["message"].endswith(": 1 in flight"), "the other's request")
        assert draining(pool) == ["chat-engine-2"]
        other.in_flight = {}
        eventually(lambda: pool.names() == ["chat-engine-0", "chat-engine-1"], "it is deleted")


@pytest.mark.usefixtures("operator")
def test_an_engine_waits_for_a_router_that_has_not_seen_the_mark(pool: Pool, router: StandIn) -> None:
    router.follows = False
    pool.kubectl("scale", "fpool/chat", "--replicas=2")
    eventually(lambda: pool.condition("Draining")["reason"] == "WaitingForRouters", "what it waits for")
    assert pool.condition("Draining")["message"].endswith("0 in flight, chat-router-0 does not know yet")
    router.follows = True
    eventually(lambda: len(pool.names()) == 2, "it is deleted")


@pytest.mark.usefixtures("operator")
def test_an_engine_waits_for_a_router_that_cannot_be_asked_until_its_time_is_over(pool: Pool, router: StandIn) -> None:
    router_pod(pool, "chat-router-lost", free_port())
    pool.kubectl(
        "patch", "fpool", "chat", "--type=merge", "-p", '{"spec": {"drain": {"timeout": "6s"}, "replicas": 2}}'
    )
    eventually(lambda: pool.condition("Draining")["reason"] == "WaitingForRouters", "what it waits for")
    assert "chat-router-lost cannot be asked" in pool.condition("Draining")["message"]
    [leaving] = [pod for pod in pool.pods() if marked(pod)]
    eventually(lambda: len(pool.names()) == 2, "it is deleted")
    assert (datetime.now(UTC) - datetime.fromisoformat(marked(leaving))).total_seconds() >= 6
    described = eventually(
        lambda: "DrainTimedOut" in (text := pool.kubectl("describe", "fpool", "chat")) and text, "the warning"
    )
    assert "chat-router-lost cannot be asked" in described


@pytest.mark.usefixtures("operator")
def test_an_engine_marked_by_hand_is_drained_and_replaced(pool: Pool, router: StandIn) -> None:
    router.in_flight = {"chat-engine-0": 1}
    pool.kubectl("annotate", "pod", "chat-engine-0", f"{MARK}=please")
    eventually(lambda: marked(pool.get("pod", "chat-engine-0")).endswith("Z"), "the mark becomes a time")
    eventually(lambda: "chat-engine-3" in pool.names(), "another in its place")
    assert "chat-engine-0" in pool.names()
    router.in_flight = {}
    eventually(lambda: pool.names() == ["chat-engine-1", "chat-engine-2", "chat-engine-3"], "it is gone")


def test_an_operator_that_is_killed_in_a_drain_leaves_it_to_the_next(
    pool: Pool, start_operator: Callable[..., Operator]
) -> None:
    first, router = start_operator(), StandIn(pool)
    with served(router.answer) as port:
        router_pod(pool, "chat-router-0", port)
        pool.apply(replicas=2)
        pool.settle()
        router.in_flight = {"chat-engine-0": 1, "chat-engine-1": 1}
        pool.kubectl("scale", "fpool/chat", "--replicas=1")
        eventually(lambda: draining(pool) == ["chat-engine-1"], "it drains")
        first.kill()
        mark = marked(pool.get("pod", "chat-engine-1"))
        router.in_flight = {"chat-engine-0": 0, "chat-engine-1": 2}  # the other would be chosen now
        start_operator()
        eventually(lambda: pool.condition("Draining")["message"].endswith(": 2 in flight"), "the next operator")
        assert draining(pool) == ["chat-engine-1"]
        assert marked(pool.get("pod", "chat-engine-1")) == mark
        router.in_flight = {}
        eventually(lambda: pool.names() == ["chat-engine-0"], "it is deleted")


TOKENS = 150


class Load:
    """Streams through the router of a pool, checked to their last token."""

    def __init__(self, port: int, admin: Callable[[], list[dict[str, Any]]]) -> None:
        self._port, self._admin = port, admin

    def endpoints(self) -> dict[str, tuple[str, int]]:
        return {e["name"]: (e["state"], e["inFlight"]) for e in self._admin()}

    def start(self, requests: int) -> subprocess.Popen[str]:
        client = str(ROOT / "tests" / "e2e" / "client" / "stream.py")
        where = ["--base-url", f"http://127.0.0.1:{self._port}/v1", "--model", "mock"]
        how = ["--requests", str(requests), "--max-tokens", str(TOKENS)]
        command = [sys.executable, client, *where, *how]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def load(
    pool: Pool, cluster: Cluster, operator: Operator, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Load]:
    """Two real engines on which a stream takes ten seconds and more, behind a real router.

    Their processes die with their pods, without grace, or, where a test asks for `on_node`, as on a node.
    """
    port, admin = free_port(), free_port()
    router_pod(pool, "chat-router-0", admin)
    pool.apply(engine={"type": "mock", "args": SLOW})
    where = ["--pool=chat", f"--namespace={pool.namespace}", f"--kubeconfig={cluster.kubeconfig}"]
    program = str(Path(sys.executable).with_name("fairlead-router"))
    with kubelet(pool, tmp_path, on_node=getattr(request, "param", None) == "on_node"):
        eventually(lambda: pool.get("configmap", "chat-router"), "the router's configuration")
        router = spawn([program, *where, f"--port={port}", f"--admin-port={admin}"], tmp_path / "router.log")
        made = Load(port, lambda: endpoints_of(admin))
        eventually(lambda: [s for s, _ in made.endpoints().values()] == ["ready", "ready"], "two engines", 60)
        yield made
        stop(router)


SLOW = ["--profile=mistral-7b-rtx6000-ada", "--time-scale=3"]


def endpoints_of(admin: int) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/admin/v1/endpoints", timeout=5) as answer:
            listed: list[dict[str, Any]] = json.load(answer)
            return listed
    except OSError as error:
        raise AssertionError(error) from error


def whole(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The streams that came to their regular end with every token."""
    return [
        record
        for record in records
        if record["error"] is None
        and record["finish_reason"] == "length"
        and record["usage"]["completion_tokens"] == len(record["arrivals"]) == TOKENS
    ]


def ended(streams: subprocess.Popen[str]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(streams.communicate(timeout=180)[0])
    return records


def test_scaling_down_cuts_no_stream(pool: Pool, load: Load) -> None:
    streams = load.start(10)
    eventually(lambda: [n for _, n in load.endpoints().values()] == [5, 5], "every stream runs")
    pool.kubectl("scale", "fpool/chat", "--replicas=1")
    eventually(lambda: ("draining", 5) in load.endpoints().values(), "streams on the engine that drains")
    records = ended(streams)
    assert len(whole(records)) == 10, records
    eventually(lambda: len(pool.names()) == 1, "one engine")


@pytest.mark.parametrize("load", ["on_node"], indirect=True)
def test_an_engine_that_somebody_else_deletes_ends_its_streams_first(pool: Pool, load: Load) -> None:
    streams = load.start(10)
    eventually(lambda: [n for _, n in load.endpoints().values()] == [5, 5], "every stream runs")
    pool.kubectl("delete", "pod", "chat-engine-0", "--wait=false")
    eventually(lambda: load.endpoints()["chat-engine-0"] == ("draining", 5), "its streams run on")
    records = ended(streams)
    assert len(whole(records)) == 10, records
    eventually(lambda: "chat-engine-2" in pool.names() and len(pool.names()) == 2, "another in its place")


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """A node on which no kubelet runs."""
    name = f"node-{uuid4().hex[:8]}"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(node))
    yield name
    cluster.kubectl("delete", "node", name)


@pytest.mark.usefixtures("operator")
def test_an_eviction_is_refused_and_an_engine_on_a_cordoned_node_is_replaced_before_it_goes(
    pool: Pool, router: StandIn, node: str, cluster: Cluster
) -> None:
    bind(pool, "chat-engine-0", node)
    cluster.kubectl("cordon", node)
    about = {"name": "chat-engine-0", "namespace": pool.namespace}
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about})
    path = f"/api/v1/namespaces/{pool.namespace}/pods/chat-engine-0/eviction"
    evict = ("-n", pool.namespace, "create", "--raw", path, "-f", "-")
    assert "disruption budget" in cluster.kubectl(*evict, stdin=eviction, check=False).stderr
    eventually(lambda: len(pool.names()) == 4, "another engine first")
    assert draining(pool) == [], "none goes before the other serves"
    router.in_flight = {"chat-engine-0": 1}
    pool.make_ready("chat-engine-3")
    eventually(lambda: draining(pool) == ["chat-engine-0"], "the engine on that node drains")
    router.in_flight = {}
    eventually(lambda: pool.names() == ["chat-engine-1", "chat-engine-2", "chat-engine-3"], "it is deleted")
    pool.kubectl("delete", "pod", "chat-engine-0", "--grace-period=0", "--force")  # as its kubelet would
    described = pool.kubectl("describe", "fpool", "chat")
    assert "draining chat-engine-0: its node is cordoned" in described


def test_a_rollout_cuts_no_stream(pool: Pool, load: Load) -> None:
    before = uids(pool)
    first = load.start(10)
    eventually(lambda: [n for _, n in load.endpoints().values()] == [5, 5], "every stream runs")
    pool.apply(engine={"type": "mock", "args": [*SLOW, "--max-num-seqs=64"]})
    eventually(lambda: ("draining", 5) in load.endpoints().values(), "streams on an engine that drains", 60)
    second = load.start(10)
    eventually(lambda: not before & uids(pool) and len(uids(pool)) == 2, "two new engines", 90)
    records = [*ended(first), *ended(second)]
    assert len(whole(records)) == 20, records
