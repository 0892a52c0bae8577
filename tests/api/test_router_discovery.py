"""The router's view of its pool, through a real API server."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from control_plane import Cluster, eventually, spawn, stop
from pool_on_api import Pool
from ports import free_port

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def endpoints(cluster: Cluster, namespace: str, pool: Pool, tmp_path: Path) -> Iterator[Any]:
    """What a router that follows the pool says of its endpoints."""
    pool.apply()
    eventually(lambda: len(pool.pods()) == 2, "the engines, made after the router's configuration")
    admin = free_port()
    program = str(Path(sys.executable).with_name("fairlead-router"))
    where = ["--pool=chat", f"--namespace={namespace}", f"--kubeconfig={cluster.kubeconfig}"]
    ports = [f"--port={free_port()}", f"--admin-port={admin}"]
    router = spawn([program, *where, *ports], tmp_path / "router.log")

    def ask() -> dict[str, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/admin/v1/endpoints", timeout=5) as answer:
                return {endpoint["name"]: endpoint["state"] for endpoint in json.load(answer)}
        except OSError as error:
            raise AssertionError(error) from error

    yield ask
    stop(router)


def test_pods_become_endpoints_when_they_have_an_address_and_ready_when_they_are(pool: Pool, endpoints: Any) -> None:
    eventually(lambda: endpoints() == {}, "no endpoint without an address")
    pool.make_ready("chat-engine-0")
    eventually(lambda: endpoints() == {"chat-engine-0": "ready"}, "the ready one")
    pool.make_ready("chat-engine-1", ready=False)
    eventually(lambda: endpoints() == {"chat-engine-0": "ready", "chat-engine-1": "not_ready"}, "the other one")


def test_a_pod_marked_as_draining_is_draining(pool: Pool, endpoints: Any) -> None:
    pool.make_ready("chat-engine-0")
    eventually(lambda: endpoints() == {"chat-engine-0": "ready"}, "ready first")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    pool.kubectl("annotate", "pod", "chat-engine-0", f"fairlead.dev/draining={now}")
    eventually(lambda: endpoints() == {"chat-engine-0": "draining"}, "draining")


def test_a_deleted_pod_is_no_endpoint(pool: Pool, endpoints: Any) -> None:
    pool.make_ready("chat-engine-0", "chat-engine-1")
    eventually(lambda: len(endpoints()) == 2, "both pods")
    pool.kubectl("scale", "fpool/chat", "--replicas=1")
    eventually(lambda: list(endpoints()) == ["chat-engine-0"], "one pod")


def test_a_router_whose_keys_are_not_there_is_not_ready_and_listens_to_nobody(
    cluster: Cluster, namespace: str, pool: Pool, tmp_path: Path
) -> None:
    """As a container in which the pool's Secret is not mounted."""
    pool.apply(router={"auth": {"secretRef": {"name": "chat-keys"}}})
    eventually(lambda: pool.get("configmap", "chat-router"), "the router's configuration")
    port, admin = free_port(), free_port()
    program = str(Path(sys.executable).with_name("fairlead-router"))
    where = ["--pool=chat", f"--namespace={namespace}", f"--kubeconfig={cluster.kubeconfig}"]
    log = tmp_path / "router.log"
    router = spawn([program, *where, f"--port={port}", f"--admin-port={admin}"], log)

    def waiting_for() -> list[str]:
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=5)
        except urllib.error.HTTPError as not_ready:
            answer = not_ready
        except OSError as not_there_yet:
            raise AssertionError(not_there_yet) from not_there_yet
        with answer:
            waited: list[str] = json.load(answer)["waitingFor"]
        return waited

    eventually(lambda: waiting_for() == ["API keys not read"], "it waits for its keys")
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
    assert "/etc/fairlead/secrets/keys.yaml is refused" in log.read_text()
    stop(router)
