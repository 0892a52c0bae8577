"""What the end-to-end tests do in a namespace: kubectl, clients in the cluster, and waiting with a good failure."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from cluster import CLIENT, ROOT, Cluster, CommandError

CLIENT_SCRIPTS = ROOT / "tests" / "e2e" / "client"
QUICKSTART = ROOT / "manifests" / "samples" / "quickstart.yaml"
OPERATOR_NAMESPACE = "fairlead-system"
POOL = "chat"
MODEL = "mistral-7b"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Namespace:
    """A namespace of its own for a test."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 180) -> str:
        return self.cluster.run("kubectl", "--namespace", self.name, *arguments, stdin=stdin, timeout=timeout)

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        return found

    def find(self, kind: str, selector: str = "") -> list[Manifest]:
        found: list[Manifest] = json.loads(self.kubectl("get", kind, "--selector", selector, "--output", "json"))[
            "items"
        ]
        return found

    def apply(self, manifest: Manifest | Path) -> None:
        text = manifest.read_text() if isinstance(manifest, Path) else json.dumps(manifest)
        self.kubectl("apply", "-f", "-", stdin=text)

    def quickstart(self, **spec: Any) -> None:
        """Apply the quickstart sample, with other values for some fields of its spec, and wait until it is settled."""
        self.apply(QUICKSTART)
        if spec:
            self.kubectl("patch", "fpool", POOL, "--type=merge", "--patch", json.dumps({"spec": spec}))
        self.eventually(self.settled, "the pool is settled")

    def settled(self, pool: str = POOL) -> bool:
        """Tell whether the pool is Ready and everything is as its newest spec says."""
        manifest = self.get("fpool", pool)
        status = manifest.get("status", {})
        conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
        return (
            status.get("observedGeneration") == manifest["metadata"]["generation"]
            and conditions == {"Ready": "True", "Progressing": "False", "Degraded": "False", "Draining": "False"}
            and status.get("readyReplicas") == manifest["spec"]["replicas"]
        )

    def engines(self, pool: str = POOL) -> list[Manifest]:
        """Give the engine pods that are not being deleted."""
        pods = self.find("pods", f"fairlead.dev/pool={pool},fairlead.dev/component=engine")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def engine_names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.engines()}

    def engine_metric(self, pod: str, metric: str) -> float:
        """Give the sum of a metric's samples as an engine reports it."""
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}:8000/proxy/metrics"
        text = self.cluster.run("kubectl", "get", "--raw", path)
        samples = re.findall(rf"^{re.escape(metric)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert samples, f"{pod} reports no {metric}"
        return sum(map(float, samples))

    def start_client(self) -> None:
        """Start a pod with the openai SDK, for `client`."""
        self.apply(client_pod(self.cluster.images[CLIENT]))
        self.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=120s")

    def client(self, script: str, *arguments: str, stdin: str = "", timeout: float = 180) -> Any:
        """Run a script of `client/` in the cluster against the pool's Service, and give the JSON that it prints."""
        where = () if "--base-url" in arguments else ("--base-url", f"http://{POOL}/v1")
        command = ("python", script, *where, "--model", MODEL, *arguments)
        return json.loads(self.kubectl("exec", "-i", "client", "--", *command, stdin=stdin, timeout=timeout))

    def client_process(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a script of `client/` in the cluster; the caller reads its output and ends it."""
        command = ["kubectl", "--namespace", self.name, "exec", "client", "--", "python", script]
        command += ["--base-url", f"http://{POOL}/v1", "--model", MODEL, *arguments]
        return subprocess.Popen(
            command, env=self.cluster.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def client_here(self, script: str, port: int, *arguments: str) -> Any:
        """Run a script of `client/` on this machine against a forwarded port."""
        command = [sys.executable, str(CLIENT_SCRIPTS / script), "--base-url", f"http://127.0.0.1:{port}/v1"]
        return json.loads(self.cluster.run(*command, "--model", MODEL, *arguments))

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """Forward a free local port to a Service or pod while the block runs, and give that port."""
        command = ["kubectl", "--namespace", self.name, "port-forward", target, f":{port}"]
        with subprocess.Popen(command, env=self.cluster.environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                match = re.search(r"127\.0\.0\.1:(\d+)", line)
                assert match, f"kubectl port-forward {target} said {line!r}"
                yield int(match[1])
            finally:
                process.terminate()

    def eventually(self, condition: Callable[[], Any], what: str, timeout: float = 120) -> Any:
        """Poll until the condition gives something true and give that; at the deadline fail with the namespace's state."""
        deadline, last = time.monotonic() + timeout, "nothing"
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
                last = repr(value)
            except (AssertionError, CommandError, KeyError) as error:
                last = f"{type(error).__name__}: {error}"
            time.sleep(0.5)
        raise AssertionError(f"not within {timeout:.0f} s: {what}\nlast: {last}\n{self.state()}")

    def state(self) -> str:
        """Describe the namespace for a failure: pools, pods, events and the operator's log."""
        operator = [
            "kubectl",
            "--namespace",
            OPERATOR_NAMESPACE,
            "logs",
            "--selector=app.kubernetes.io/component=operator",
        ]
        here = ["kubectl", "--namespace", self.name]
        parts = {
            "pools": [*here, "get", "fpool", "--output", "jsonpath={range .items[*]}{.metadata.name}: {.status}{end}"],
            "pods": [*here, "get", "pods", "--output", "wide", "--show-labels"],
            "events": [*here, "get", "events", "--sort-by=.lastTimestamp"],
            "operator": [*operator, "--tail=40"],
        }
        described = []
        for title, command in parts.items():
            with suppress(CommandError):
                described.append(f"--- {title}\n" + "\n".join(self.cluster.run(*command).splitlines()[-40:]))
        return "\n".join(described)


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """Make a namespace whose pods must pass the restricted Pod Security level, and delete it at the end."""
    namespace = Namespace(cluster, f"e2e-{uuid4().hex[:8]}")
    cluster.run("kubectl", "create", "namespace", namespace.name)
    cluster.run("kubectl", "label", "namespace", namespace.name, RESTRICTED)
    try:
        yield namespace
    finally:
        # pools first: the namespace controller gives pods their grace of minutes before it turns to anything else
        namespace.kubectl("delete", "fpool", "--all", "--wait=false")
        cluster.run("kubectl", "delete", "namespace", namespace.name, "--wait=false")


def client_pod(image: str) -> Manifest:
    """Give a pod that waits to be used by `kubectl exec`, and passes the restricted Pod Security level."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
