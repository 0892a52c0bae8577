"""A pool as a user sees and edits it, with the parts of kubelet and Deployment controller played by the test."""

import copy
import json
from typing import Any

from control_plane import Cluster, eventually

POOL: dict[str, Any] = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "InferencePool",
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"name": "mock"},
        "engine": {"type": "mock", "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}},
        "replicas": 2,
    },
}


class Pool:
    """One pool, seen and edited as a user would with kubectl."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin).stdout

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("-n", self.namespace, *arguments)

    def apply(self, **spec: Any) -> None:
        manifest = copy.deepcopy(POOL)
        manifest["spec"].update(spec)
        self.cluster.apply(manifest, self.namespace)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.get("fpool", "chat").get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.status()["conditions"] if c["type"] == kind)
        return found

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get("pods", "-l", "fairlead.dev/component=engine")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def names(self) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.pods())

    def make_ready(self, *names: str, ready: bool = True) -> None:
        """Do what kubelets do for pods that start."""
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}]}
        patch = json.dumps({"status": status})
        for name in names:  # one may be gone by now
            arguments = ("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
            self.cluster.kubectl("-n", self.namespace, *arguments, check=False)

    def make_router_available(self) -> None:
        """Do what the Deployment controller does."""
        generation = self.get("deployment", "chat-router")["metadata"]["generation"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
        patch = json.dumps({"status": {"observedGeneration": generation, **counts}})
        self.kubectl("patch", "deployment", "chat-router", "--subresource=status", "--type=merge", "-p", patch)

    def settle(self) -> None:
        """Wait until the operator has nothing left to do."""
        eventually(lambda: len(self.pods()) == self.get("fpool", "chat")["spec"]["replicas"], "engines")
        self.make_ready(*self.names())
        eventually(lambda: self.get("deployment", "chat-router"), "router")
        self.make_router_available()
        eventually(lambda: self.status().get("phase") == "Ready", "phase Ready")
