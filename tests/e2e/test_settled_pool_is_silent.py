"""For a settled pool the operator writes nothing: the API server's audit log is the witness."""

import json
import time
from typing import Any

from cluster import NODE, Cluster
from release import Release
from scene import OPERATOR_NAMESPACE, POOL, Namespace

QUIET_SECONDS = 20
"""Long enough for a leader's Lease to be renewed several times, which shows that the log is being written."""


def writes(cluster: Cluster) -> list[dict[str, Any]]:
    """Give the operator's writes so far, oldest first: the audit policy logs nothing else."""
    lines = cluster.run("docker", "exec", NODE, "cat", "/var/log/kubernetes/audit.log").splitlines()
    return [entry for line in lines if (entry := json.loads(line))["stage"] == "ResponseComplete"]


def pools(cluster: Cluster) -> set[str]:
    """Give the namespaces that hold a pool."""
    listed = cluster.run("kubectl", "get", "fpool", "--all-namespaces", "--output=json")
    return {pool["metadata"]["namespace"] for pool in json.loads(listed)["items"]}


def is_own_lease(entry: dict[str, Any]) -> bool:
    what = entry["objectRef"]
    return (what["resource"], what["namespace"]) == ("leases", OPERATOR_NAMESPACE)


def test_the_log_sees_the_operator_create_a_pool(chat: Namespace) -> None:
    created = {e["objectRef"]["resource"] for e in writes(chat.cluster) if e["objectRef"].get("namespace") == chat.name}
    assert {"pods", "services", "deployments", "configmaps"} <= created


def test_nothing_is_written_for_a_settled_pool_even_by_a_restarted_operator(chat: Namespace, operator: Release) -> None:
    chat.eventually(lambda: pools(chat.cluster) == {chat.name}, "the pools of other tests are gone")
    seen = len(writes(chat.cluster))
    chat.kubectl("annotate", "fpool", POOL, "note=wakes-the-operator")
    operator.kubectl("rollout", "restart", "deployment/fairlead-operator")
    operator.kubectl("rollout", "status", "deployment/fairlead-operator", "--timeout=120s")
    end = time.monotonic() + QUIET_SECONDS
    leases: list[dict[str, Any]] = []
    while time.monotonic() < end:
        new = writes(chat.cluster)[seen:]
        others = [f"{e['verb']} {e['requestURI']}" for e in new if not is_own_lease(e)]
        assert not others, f"written for a settled pool: {others}"
        leases = [entry for entry in new if is_own_lease(entry)]
        time.sleep(1)
    assert len(leases) >= 2, "the operator did not renew its Lease: was it at work?"
    assert chat.settled()
