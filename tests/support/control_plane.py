"""A control plane without nodes for tests, and the waiting that such tests need."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import free_port

ROOT = Path(__file__).parents[2]
CRD = ROOT / "manifests" / "crd" / "fairlead.dev_inferencepools.yaml"
START_SECONDS = 90


def binary(name: str) -> str:
    """Find a control-plane binary as envtest does: by its own variable, by KUBEBUILDER_ASSETS, on PATH."""
    variable = f"TEST_ASSET_{name.upper().replace('-', '_')}"
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = [os.environ.get(variable), str(Path(assets) / name) if assets else None, shutil.which(name)]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return candidate
    message = (
        f"tests/api needs {name}: set {variable} or KUBEBUILDER_ASSETS, or run tests/e2e/airgap/build-binaries once"
    )
    if os.environ.get("E2E") == "required":
        pytest.fail(message)
    pytest.skip(message)


@dataclass(frozen=True)
class Cluster:
    """A control plane without nodes, spoken to through kubectl as a user would."""

    kubeconfig: Path
    audit_log: Path
    kubectl_path: str

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.kubectl_path, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def apply(self, manifest: dict[str, Any], namespace: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest), check=check)


def eventually(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Poll until the condition gives something true; the last thing it gave or raised is in the failure."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if last := condition():
                return last
        except (AssertionError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}; last: {last!r}")


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to a file."""
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def control_plane(folder: Path) -> Iterator[Cluster]:
    """Run etcd and kube-apiserver with our CRD installed for as long as the context is open."""
    apiserver, etcd, kubectl = binary("kube-apiserver"), binary("etcd"), binary("kubectl")
    store_port, peer_port, port = free_port(), free_port(), free_port()
    subprocess.run(["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text('admin-token,admin,admin,"system:masters"\noperator-token,operator,operator\n')
    (folder / "audit.yaml").write_text(AUDIT_POLICY)
    store = spawn(
        [
            etcd,
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store_port}",
            f"--advertise-client-urls=http://127.0.0.1:{store_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
        ],
        folder / "etcd.log",
    )
    server = spawn(
        [
            apiserver,
            f"--etcd-servers=http://127.0.0.1:{store_port}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'sa.key'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            f"--audit-policy-file={folder / 'audit.yaml'}",
            f"--audit-log-path={folder / 'audit.log'}",
        ],
        folder / "apiserver.log",
    )
    try:
        kubeconfig = write_kubeconfig(folder / "admin.kubeconfig", port, "admin-token")
        made = Cluster(kubeconfig, folder / "audit.log", kubectl)
        try:
            eventually(
                lambda: made.kubectl("get", "--raw", "/readyz", check=False).returncode == 0,
                "API server",
                START_SECONDS,
            )
        except AssertionError:
            raise AssertionError((folder / "apiserver.log").read_text()[-3000:]) from None
        made.kubectl("apply", "--server-side", "-f", str(CRD))
        made.kubectl("wait", "--for=condition=Established", "crd/inferencepools.fairlead.dev", "--timeout=30s")
        yield made
    finally:
        stop(server)
        stop(store)


AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [operator]
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""


def write_kubeconfig(path: Path, port: int, token: str) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [
            {"name": "test", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def shipped_rules() -> list[dict[str, Any]]:
    """The rules of the ClusterRole that is shipped in manifests/base."""
    for path in sorted((ROOT / "manifests" / "base").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") == "ClusterRole":
                rules: list[dict[str, Any]] = document["rules"]
                return rules
    raise AssertionError("manifests/base holds no ClusterRole")


@dataclass
class Operator:
    """A running operator process."""

    process: subprocess.Popen[bytes]
    log: Path

    def resyncs(self) -> int:
        """How often it has listed everything anew."""
        return self.log.read_text().count("resynced")

    def stop(self) -> None:
        """End it as a rollout would; one that has ended already stays ended."""
        if self.process.poll() is None:
            stop(self.process)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
