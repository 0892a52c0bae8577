"""The operator's own life: silence when there is nothing to do, a crash in the middle of work, two at once."""

import json
from collections.abc import Callable

from control_plane import Cluster, Operator, eventually
from pool_on_api import Pool

StartOperator = Callable[..., Operator]


def writes(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """What the operator's account wrote in the namespace, by the API server's own log."""
    lines = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
    mine = [line for line in lines if line.get("objectRef", {}).get("namespace") == namespace]
    return [(line["verb"], line["requestURI"].split("?")[0]) for line in mine]


def test_a_settled_pool_is_left_alone(
    pool: Pool, cluster: Cluster, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator("--resync-seconds=1", "--log-level=debug")
    pool.apply()
    pool.settle()
    before = writes(cluster, namespace)
    seen = operator.resyncs()
    eventually(lambda: operator.resyncs() >= seen + 3, "three resyncs")
    assert writes(cluster, namespace) == before


def test_an_operator_killed_in_the_middle_of_a_creation_leaves_nothing_twice(
    pool: Pool, start_operator: StartOperator
) -> None:
    first = start_operator()
    pool.apply(replicas=40)
    eventually(lambda: "applied Pod/chat-engine-0" in first.log.read_text(), "the first engine")
    first.kill()
    assert 0 < len(pool.pods()) < 40, "it was to be killed before it was done"
    start_operator()
    eventually(lambda: len(pool.pods()) == 40, "every engine")
    assert {pod["metadata"]["name"] for pod in pool.pods()} == {f"chat-engine-{slot}" for slot in range(40)}


def test_only_the_holder_of_the_lease_acts(pool: Pool, namespace: str, start_operator: StartOperator) -> None:
    pool.kubectl("create", "role", "lease", "--verb=get,create,update,patch", "--resource=leases.coordination.k8s.io")
    pool.kubectl("create", "rolebinding", "lease", "--role=lease", "--user=operator")
    first = start_operator(f"--lease-namespace={namespace}")
    eventually(lambda: pool.get("lease", "fairlead-operator")["spec"]["holderIdentity"], "a holder")
    second = start_operator(f"--lease-namespace={namespace}")
    eventually(lambda: "waiting for lease" in second.log.read_text(), "the second to stand by")
    first.stop()
    eventually(lambda: "leading as" in second.log.read_text(), "the second to lead before the lease runs out", 10)
    pool.apply()
    eventually(lambda: len(pool.pods()) == 2, "engines made by the second")
