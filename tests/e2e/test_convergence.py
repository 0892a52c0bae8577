"""Whatever is done to a pool or its children, the cluster comes back to what the spec says."""

import json
from typing import Any

import pytest
from cluster import Cluster
from release import Release
from scene import POOL, QUICKSTART, Namespace, fresh_namespace

ROUTER = f"{POOL}-router"
CHILD_KINDS = "pods,replicasets,deployments,services,endpointslices,configmaps,serviceaccounts,roles,rolebindings,poddisruptionbudgets"
NAMESPACE_OWN = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
"""What every namespace holds."""


def owned_engines(namespace: Namespace) -> list[dict[str, Any]]:
    """Give every engine pod that belongs to the pool, whatever its labels say."""
    uid = namespace.get("fpool", POOL)["metadata"]["uid"]
    owners = {pod["metadata"]["name"]: pod["metadata"].get("ownerReferences", []) for pod in namespace.find("pods")}
    mine = {name for name, references in owners.items() if uid in {reference["uid"] for reference in references}}
    return [pod for pod in namespace.find("pods") if pod["metadata"]["name"] in mine]


def exactly_two_sound_engines(namespace: Namespace) -> bool:
    owned = {pod["metadata"]["name"] for pod in owned_engines(namespace)}
    return namespace.settled() and len(owned) == 2 and owned == namespace.engine_names()


@pytest.mark.parametrize("replicas", [3, 1])
def test_kubectl_scale_changes_the_number_of_engines(chat: Namespace, replicas: int) -> None:
    chat.kubectl("scale", f"fpool/{POOL}", f"--replicas={replicas}")
    chat.eventually(lambda: chat.settled() and len(chat.engines()) == replicas, f"{replicas} engines")
    assert chat.get("fpool", POOL)["status"]["replicas"] == replicas


def test_a_deleted_engine_is_replaced(chat: Namespace) -> None:
    lost, kept = sorted(chat.engine_names())
    uid = chat.get("pod", lost)["metadata"]["uid"]
    chat.kubectl("delete", "pod", lost, "--wait=false")
    chat.eventually(
        lambda: exactly_two_sound_engines(chat) and uid not in {pod["metadata"]["uid"] for pod in chat.engines()},
        "the engine is replaced",
    )
    assert kept in chat.engine_names()


def test_an_operator_killed_in_the_middle_of_a_creation_leaves_exactly_what_was_asked_for(
    namespace: Namespace, operator: Release
) -> None:
    killed = operator.operator_pod()
    namespace.apply(QUICKSTART)
    namespace.kubectl("scale", f"fpool/{POOL}", "--replicas=6")
    namespace.eventually(lambda: namespace.find("pods,serviceaccounts", f"fairlead.dev/pool={POOL}"), "a first child")
    operator.kubectl("delete", "pod", killed, "--grace-period=0", "--force")
    namespace.eventually(namespace.settled, "the pool is settled by the next operator")
    assert operator.operator_pod() != killed
    assert len(owned_engines(namespace)) == 6


HAND_EDITS = {
    "router arguments": (
        "deployment",
        ROUTER,
        {"spec": {"template": {"spec": {"containers": [{"name": "router", "args": ["--pool", "elsewhere"]}]}}}},
    ),
    "router replicas": ("deployment", ROUTER, {"spec": {"replicas": 3}}),
    "Service selector": ("service", POOL, {"spec": {"selector": {"fairlead.dev/pool": "elsewhere"}}}),
    "an added key in the Service selector": ("service", POOL, {"spec": {"selector": {"tier": "gold"}}}),
    "ConfigMap data": ("configmap", ROUTER, {"data": {"config.yaml": "pool: elsewhere\n"}}),
    "the router's rights": ("role", ROUTER, {"rules": []}),
}


@pytest.fixture(scope="module")
def edited(cluster: Cluster, release: Release) -> Any:
    """One pool for all edits by hand: each test brings it back."""
    with fresh_namespace(cluster) as made:
        made.quickstart()
        yield made


@pytest.mark.parametrize("edit", HAND_EDITS)
def test_a_child_edited_by_hand_is_brought_back(edited: Namespace, operator: Release, edit: str) -> None:
    kind, name, patch = HAND_EDITS[edit]
    declared = content(edited.get(kind, name))
    changed = edited.kubectl("patch", kind, name, "--type=strategic", "--patch", json.dumps(patch))
    assert "no change" not in changed
    edited.eventually(lambda: content(edited.get(kind, name)) == declared and edited.settled(), f"{edit} as declared")


def content(manifest: dict[str, Any]) -> dict[str, Any]:
    return {part: manifest[part] for part in ("spec", "data", "rules") if part in manifest}


@pytest.mark.parametrize("label", ["fairlead.dev/pool", "fairlead.dev/component", "fairlead.dev/revision"])
def test_an_engine_whose_label_was_changed_does_not_stay_astray(
    edited: Namespace, operator: Release, label: str
) -> None:
    edited.eventually(lambda: exactly_two_sound_engines(edited), "two engines to begin with")
    victim = min(edited.engine_names())
    edited.kubectl("label", "pod", victim, f"{label}=elsewhere", "--overwrite")
    edited.eventually(
        lambda: (
            exactly_two_sound_engines(edited)
            and all(pod["metadata"]["labels"].get(label) != "elsewhere" for pod in owned_engines(edited))
        ),
        "two engines, both labelled as declared",
    )


def test_an_engine_whose_image_was_changed_is_replaced(edited: Namespace, operator: Release) -> None:
    edited.eventually(lambda: exactly_two_sound_engines(edited), "two engines to begin with")
    victim = edited.engines()[0]
    declared = victim["spec"]["containers"][0]["image"]
    edited.kubectl("set", "image", f"pod/{victim['metadata']['name']}", "engine=fairlead/engine:nosuch")
    edited.eventually(
        lambda: (
            exactly_two_sound_engines(edited)
            and {pod["spec"]["containers"][0]["image"] for pod in edited.engines()} == {declared}
        ),
        "two engines with the declared image",
    )


def test_deleting_a_pool_removes_every_child(chat: Namespace) -> None:
    before = chat.kubectl("get", CHILD_KINDS, "--output=name").split()
    assert len(before) > len(NAMESPACE_OWN) + 8
    chat.kubectl("delete", f"fpool/{POOL}", "--timeout=120s")
    chat.eventually(
        lambda: set(chat.kubectl("get", CHILD_KINDS, "--output=name").split()) <= NAMESPACE_OWN, "no child is left"
    )
