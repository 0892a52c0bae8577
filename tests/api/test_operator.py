"""The operator against a real API server, with exactly the rights of the shipped role.

Pods have no kubelet here: a test that needs a ready engine writes the pod's status as a kubelet would.
"""

import json
import time
from typing import Any

import pytest
from control_plane import eventually
from pool_on_api import Pool

from fairlead_operator.api.pool import parse_pool
from fairlead_operator.plan.drift import differs
from fairlead_operator.plan.router_children import router_children
from fairlead_operator.resync import OWNED
from fairlead_operator.types import Images

pytestmark = pytest.mark.usefixtures("operator")

CHILDREN = "serviceaccount/chat-router", "role/chat-router", "rolebinding/chat-router", "configmap/chat-router"


def test_a_new_pool_gets_engines_and_a_router(pool: Pool) -> None:
    pool.apply()
    eventually(lambda: pool.names() == ["chat-engine-0", "chat-engine-1"], "two engines")
    for child in ("service/chat", "deployment/chat-router", *CHILDREN):
        eventually(lambda child=child: pool.get(child), child)  # type: ignore[misc]


def test_a_pool_becomes_ready_when_its_engines_and_its_router_are(pool: Pool) -> None:
    pool.apply()
    eventually(lambda: pool.condition("Ready")["reason"] == "RouterNotReady", "not ready yet")
    pool.settle()
    status = pool.status()
    assert pool.condition("Ready")["status"] == "True"
    assert pool.condition("Progressing")["status"] == "False"
    assert pool.condition("Degraded")["status"] == "False"
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)
    assert status["observedGeneration"] == pool.get("fpool", "chat")["metadata"]["generation"]


ROUTER = "/spec/template/spec/containers"

EDITS: list[tuple[str, Any]] = [
    ("service/chat", {"spec": {"selector": {"fairlead.dev/component": "engine"}}}),
    ("service/chat", {"spec": {"selector": {"somebody": "else"}}}),
    ("service/chat", [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]),
    ("configmap/chat-router", {"data": {"config.yaml": "policy: round-robin"}}),
    ("configmap/chat-router", {"data": {"more.yaml": "x"}}),
    ("deployment/chat-router", {"spec": {"replicas": 5}}),
    ("deployment/chat-router", {"spec": {"template": {"metadata": {"labels": {"extra": "label"}}}}}),
    ("deployment/chat-router", [{"op": "add", "path": f"{ROUTER}/0/args/-", "value": "--policy=round-robin"}]),
    ("deployment/chat-router", [{"op": "add", "path": f"{ROUTER}/-", "value": {"name": "spy", "image": "spy:1"}}]),
    ("role/chat-router", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    ("rolebinding/chat-router", {"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]}),
    ("pod/chat-engine-0", {"metadata": {"labels": {"fairlead.dev/pool": "other"}}}),
    ("pod/chat-engine-0", {"metadata": {"labels": {"fairlead.dev/component": None}}}),
    ("pod/chat-engine-0", {"spec": {"containers": [{"name": "engine", "image": "other:1"}]}}),
]


@pytest.mark.parametrize(("child", "edit"), EDITS, ids=[f"{child} {json.dumps(edit)[:60]}" for child, edit in EDITS])
def test_a_child_edited_by_hand_converges_to_the_spec(pool: Pool, child: str, edit: Any) -> None:
    pool.apply()
    pool.settle()
    declared = content(pool.get(child))
    pool.kubectl("patch", child, f"--type={'json' if isinstance(edit, list) else 'strategic'}", "-p", json.dumps(edit))
    eventually(lambda: content(pool.get(child)) == declared, f"{child} as declared")


@pytest.mark.parametrize("child", ["service/chat", "deployment/chat-router", *CHILDREN])
def test_a_child_deleted_by_hand_comes_back(pool: Pool, child: str) -> None:
    pool.apply()
    pool.settle()
    uid = pool.get(child)["metadata"]["uid"]
    pool.kubectl("delete", child, "--grace-period=0", "--force")
    eventually(lambda: pool.get(child)["metadata"]["uid"] != uid, f"a new {child}")


def test_a_deleted_engine_is_replaced(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    pool.kubectl("delete", "pod", "chat-engine-0", "--grace-period=0", "--force")
    eventually(lambda: len(pool.names()) == 2, "two engines again")
    pool.settle()


def content(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an object says, without what the API server adds to each write."""
    labels = manifest["metadata"].get("labels")
    owned = {key: value for key, value in manifest.items() if key not in {"metadata", "status"}}
    return {**owned, "labels": labels}


def test_scaling_up_and_down_changes_the_number_of_engines(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    pool.kubectl("scale", "fpool/chat", "--replicas=3")
    pool.settle()
    assert pool.names() == ["chat-engine-0", "chat-engine-1", "chat-engine-2"]
    pool.kubectl("scale", "fpool/chat", "--replicas=1")
    eventually(lambda: pool.names() == ["chat-engine-0"], "the oldest engine remains")


def test_a_pool_scaled_to_zero_says_so(pool: Pool) -> None:
    pool.apply(replicas=0)
    eventually(lambda: pool.get("deployment", "chat-router"), "router")
    pool.make_router_available()
    eventually(lambda: pool.condition("Ready")["reason"] == "ScaledToZero", "scaled to zero")
    assert pool.status()["phase"] == "Stopped"


def test_a_paused_pool_is_left_alone_until_it_is_not_paused_any_more(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    pool.apply(replicas=3, paused=True)
    eventually(lambda: pool.status()["phase"] == "Paused", "phase Paused")
    assert "left to do is StartingEngines" in pool.condition("Progressing")["message"]
    assert pool.condition("Ready")["status"] == "True"
    pool.kubectl("delete", "configmap", "chat-router")
    pool.make_ready("chat-engine-0", ready=False)
    eventually(lambda: pool.status()["readyReplicas"] == 1, "a look at the pool after all that")
    assert pool.names() == ["chat-engine-0", "chat-engine-1"]
    assert "configmap/chat-router" not in pool.kubectl("get", "configmaps", "-o", "name")
    pool.apply(replicas=3)
    pool.settle()
    assert pool.get("configmap", "chat-router")


def test_a_change_of_arguments_replaces_engines_one_at_a_time(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    old = pool.status()["revision"]
    pool.apply(engine={"type": "mock", "args": ["--max-num-seqs", "64"]})
    eventually(lambda: len(pool.pods()) == 3, "one engine more")
    deadline = time.monotonic() + 30
    while any(pod["metadata"]["labels"]["fairlead.dev/revision"] == old for pod in pool.pods()):
        assert len(pool.pods()) <= 3
        assert time.monotonic() < deadline
        pool.make_ready(*pool.names())
    pool.settle()
    assert pool.status()["updatedReplicas"] == 2


def test_a_name_that_belongs_to_somebody_else_is_not_taken_over(pool: Pool) -> None:
    pool.kubectl("create", "service", "clusterip", "chat", "--tcp=80")
    uid = pool.get("service", "chat")["metadata"]["uid"]
    pool.apply()
    eventually(lambda: pool.condition("Degraded")["reason"] == "NameConflict", "conflict in the status")
    assert "Service/chat" in pool.condition("Degraded")["message"]
    assert pool.get("service", "chat")["metadata"]["uid"] == uid
    assert "fairlead.dev/component" not in pool.get("service", "chat")["spec"]["selector"]


def test_a_refusal_of_the_api_server_is_told_in_its_own_words(pool: Pool) -> None:
    pool.kubectl("create", "quota", "small", "--hard=configmaps=0")
    pool.kubectl("patch", "quota", "small", "--subresource=status", "--type=merge", "-p", QUOTA_USED)
    pool.apply()
    eventually(lambda: pool.condition("Degraded")["reason"] == "ApiRefused", "refusal in the status")
    assert "exceeded quota: small" in pool.condition("Degraded")["message"]
    assert pool.names() == ["chat-engine-0", "chat-engine-1"], "the other children are made all the same"


QUOTA_USED = json.dumps({"status": {"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}})


def test_an_engine_that_cannot_start_is_told_with_its_reason(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    waiting = {"name": "engine", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    waiting["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    patch = json.dumps({"status": {"containerStatuses": [waiting]}})
    pool.kubectl("patch", "pod", "chat-engine-0", "--subresource=status", "--type=merge", "-p", patch)
    eventually(lambda: pool.condition("Degraded")["reason"] == "EngineFailing", "trouble in the status")
    assert pool.condition("Degraded")["message"] == "chat-engine-0: ImagePullBackOff: no such image"


def test_an_evicted_engine_is_replaced(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    patch = json.dumps({"status": {"phase": "Failed", "reason": "Evicted"}})
    pool.kubectl("patch", "pod", "chat-engine-0", "--subresource=status", "--type=merge", "-p", patch)
    eventually(lambda: "chat-engine-0" not in pool.names() and len(pool.names()) == 2, "another engine")


def secrets(pool: Pool) -> list[str]:
    """The Secrets that router pods mount."""
    volumes = pool.get("deployment", "chat-router")["spec"]["template"]["spec"].get("volumes", [])
    return [source["secret"]["name"] for volume in volumes for source in volume["projected"]["sources"]]


def as_declared(pool: Pool) -> bool:
    """Whether the operator, looking at the stored Deployment, finds nothing to write."""
    live = pool.get("deployment", "chat-router")
    [container] = live["spec"]["template"]["spec"]["containers"]
    images = Images(engine="any", router=container["image"], pull_policy=container["imagePullPolicy"])
    children = router_children(parse_pool(pool.get("fpool", "chat")), images)
    [declared] = [child for child in children if child["kind"] == "Deployment"]
    return not differs(declared, live)


def test_secrets_of_the_router_come_and_go_with_the_spec(pool: Pool) -> None:
    auth, tls = ({"secretRef": {"name": name}} for name in ("chat-keys", "chat-tls"))
    pool.apply(router={"auth": auth, "tls": tls})
    eventually(lambda: pool.condition("Ready")["reason"] == "RouterNotReady", "not ready yet")
    assert "Secret chat-keys with keys.yaml and Secret chat-tls" in pool.condition("Ready")["message"]
    pool.settle()
    assert secrets(pool) == ["chat-keys", "chat-tls"]
    assert pool.get("service", "chat")["spec"]["ports"][0]["name"] == "https"
    assert as_declared(pool)
    pool.apply(router={"tls": tls})
    eventually(lambda: secrets(pool) == ["chat-tls"], "the keys are gone from the pods")
    pool.apply(router={})
    eventually(lambda: secrets(pool) == [], "the certificate too")
    assert as_declared(pool)
    assert pool.get("service", "chat")["spec"]["ports"][0]["name"] == "http"


def test_every_child_is_owned_by_its_pool_and_labelled(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    uid = pool.get("fpool", "chat")["metadata"]["uid"]
    kinds = "pods,services,configmaps,serviceaccounts,deployments,roles,rolebindings,poddisruptionbudgets"
    children = pool.get(kinds, "-l", OWNED)["items"]
    assert len(children) == 9
    assert all(child["metadata"]["ownerReferences"][0]["uid"] == uid for child in children)


def test_the_pool_carries_no_finalizer_and_no_annotation_of_ours(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    metadata = pool.get("fpool", "chat")["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}


def test_what_was_done_stands_in_the_events_of_the_pool(pool: Pool) -> None:
    pool.apply()
    pool.settle()
    described = eventually(
        lambda: "created chat-engine-1" in (text := pool.kubectl("describe", "fpool", "chat")) and text, "events"
    )
    assert "EngineCreated" in described
