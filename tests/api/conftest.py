"""A real kube-apiserver and etcd, started once for all tests here; each test has a namespace of its own.

There is no kubelet, no scheduler and no controller manager: pods stay pending unless a test writes their status, and
owner references collect nothing. What needs those is tested on kind (`tests/e2e`).
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from control_plane import (
    Cluster,
    Operator,
    control_plane,
    shipped_rules,
    spawn,
    write_kubeconfig,
)
from pool_on_api import Pool
from ports import free_port


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("-n", name, "delete", "inferencepools", "--all", "--wait=false")


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: Cluster) -> Path:
    """Credentials of the operator's own account, with the rights of the shipped role and no others."""
    rules = shipped_rules()
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "operator"},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "operator"}],
    }
    for manifest in (role, binding):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    admin = yaml.safe_load(cluster.kubeconfig.read_text())
    port = int(admin["clusters"][0]["cluster"]["server"].rsplit(":", 1)[1])
    return write_kubeconfig(cluster.kubeconfig.with_name("operator.kubeconfig"), port, "operator-token")


def launch(kubeconfig: Path, log: Path, *arguments: str) -> Operator:
    """Start an operator process."""
    program = str(Path(sys.executable).with_name("fairlead-operator"))
    images = ["--engine-image=fairlead-engine:test", "--router-image=fairlead-router:test"]
    ports = f"--health-port={free_port()}"
    return Operator(spawn([program, f"--kubeconfig={kubeconfig}", *images, ports, *arguments], log), log)


@pytest.fixture(scope="module")
def operator(operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator that cares for every namespace while the module's tests run."""
    running = launch(operator_kubeconfig, tmp_path_factory.mktemp("operator") / "log")
    yield running
    running.stop()


@pytest.fixture
def start_operator(operator_kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Start operators that care for the test's namespace; all are stopped at its end."""
    started: list[Operator] = []

    def start(*arguments: str) -> Operator:
        log = tmp_path / f"operator-{len(started)}.log"
        started.append(launch(operator_kubeconfig, log, f"--namespace={namespace}", *arguments))
        return started[-1]

    yield start
    for operator in started:
        operator.stop()


@pytest.fixture
def pool(cluster: Cluster, namespace: str) -> Pool:
    return Pool(cluster, namespace)
