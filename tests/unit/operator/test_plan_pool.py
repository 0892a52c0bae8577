"""The whole plan of a pool."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pools import IMAGES, a_pool, as_stored

from fairlead_operator.plan.observed import Observed, engine_of, owner_name, owner_uid, router_trouble
from fairlead_operator.plan.pool import Plan, draining_mark, plan_pool
from fairlead_operator.types import ChildKey, Placed, RouterReport
from fairlead_router.config import RouterConfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)
READY = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
AVAILABLE = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1}


def plan(observed: Observed, previous: dict[str, Any] | None = None, **spec: Any) -> Plan:
    return plan_pool(a_pool(**spec), observed, previous or {}, IMAGES, NOW)


def world(made: Plan) -> Observed:
    """The cluster in which everything that a plan applies exists and serves."""
    objects = [
        as_stored(step.manifest, uid=str(number), **(READY if step.key.kind == "Pod" else AVAILABLE))
        for number, step in enumerate(made.apply)
    ]
    return Observed(
        pods=[o for o in objects if o["kind"] == "Pod"],
        children={ChildKey(o["kind"], o["metadata"]["name"]): o for o in objects if o["kind"] != "Pod"},
    )


FIRST = plan(Observed())
SETTLED = world(FIRST)


def test_a_new_pool_gets_all_its_children_and_the_engines_last() -> None:
    kinds = [step.key.kind for step in FIRST.apply]
    around = ["ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget"]
    assert kinds == [*around, "Pod"]
    assert all(step.new for step in FIRST.apply)


def test_a_settled_pool_with_its_status_needs_nothing() -> None:
    status = plan(SETTLED).status
    assert plan(SETTLED, status).empty


def test_the_status_tells_the_image_that_engines_really_run() -> None:
    assert (FIRST.status or {})["image"] == IMAGES.engine
    assert (plan(Observed(), engine={"type": "mock", "image": "mine:1"}).status or {})["image"] == "mine:1"


def test_a_changed_child_is_applied_again() -> None:
    key = ChildKey("ConfigMap", "chat-router")
    edited = {**SETTLED.children[key], "data": {"config.yaml": "x"}}
    [step] = plan(replace(SETTLED, children={**SETTLED.children, key: edited})).apply
    assert (step.key, step.new, step.adopt) == (key, False, ())


def test_a_child_that_somebody_meddled_with_is_taken_over_first() -> None:
    key = ChildKey("Service", "chat")
    live = SETTLED.children[key]
    fields = [{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:selector": {"f:x": {}}}}}]
    edited = {**live, "metadata": {**live["metadata"], "managedFields": fields}}
    [step] = plan(replace(SETTLED, children={**SETTLED.children, key: edited})).apply
    assert step.adopt


def test_a_child_that_is_being_deleted_is_left_to_go() -> None:
    key = ChildKey("Service", "chat")
    live = SETTLED.children[key]
    leaving = {**live, "spec": {}, "metadata": {**live["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert plan(replace(SETTLED, children={**SETTLED.children, key: leaving})).apply == ()


def test_an_edited_pod_of_the_current_revision_is_mended() -> None:
    [pod] = SETTLED.pods
    labels = {**pod["metadata"]["labels"], "fairlead.dev/pool": "other"}
    edited = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
    [step] = plan(replace(SETTLED, pods=[edited])).apply
    assert step.key == ChildKey("Pod", "chat-engine-0")


def test_a_pod_made_with_another_drain_timeout_is_left_as_it_is() -> None:
    """Kubernetes does not let a pod's grace period or arguments change."""
    assert [step.key.kind for step in plan(SETTLED, drain={"timeout": "1h"}).apply] == []


def test_a_pod_of_an_older_revision_is_not_mended_but_replaced() -> None:
    made = plan(SETTLED, engine={"type": "mock", "args": ["--profile", "fast"]})
    assert [step.key.name for step in made.apply] == ["chat-engine-1"]


def marked(pod: dict[str, Any], at: datetime) -> dict[str, Any]:
    return {**pod, "metadata": {**pod["metadata"], "annotations": draining_mark(at)}}


def test_a_surplus_engine_is_marked_and_not_deleted() -> None:
    made = plan(SETTLED, replicas=0)
    assert [removal.engine.name for removal in made.drain] == ["chat-engine-0"]
    assert made.remove == ()


def test_the_mark_that_is_written_is_the_time_that_is_read() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    [pod] = SETTLED.pods
    assert draining_mark(at) == {"fairlead.dev/draining": "2026-01-02T03:04:05.678Z"}
    assert engine_of(marked(pod, at)).draining_since_seconds == at.timestamp()


@pytest.mark.parametrize("mark", ["yes", "2026-01-02", "2026-01-02T03:04:05"])
def test_a_mark_that_is_no_time_is_replaced_by_one_that_is(mark: str) -> None:
    [pod] = SETTLED.pods
    odd = {**pod, "metadata": {**pod["metadata"], "annotations": {"fairlead.dev/draining": mark}}}
    made = plan(replace(SETTLED, pods=[odd]))
    assert [removal.engine.name for removal in made.drain] == ["chat-engine-0"]


def test_a_drained_engine_is_deleted_and_one_that_has_requests_is_waited_for() -> None:
    [pod] = SETTLED.pods
    leaving = replace(SETTLED, pods=[marked(pod, NOW - timedelta(seconds=30))])
    uid = pod["metadata"]["uid"]
    busy = plan(replace(leaving, routers=[RouterReport("r", {uid: Placed(True, 1)})]), replicas=0)
    idle = plan(replace(leaving, routers=[RouterReport("r", {uid: Placed(True, 0)})]), replicas=0)
    assert (busy.remove, busy.look_again_seconds) == ((), 3.0)
    assert [removal.engine.name for removal in idle.remove] == ["chat-engine-0"]


def test_a_pool_may_shorten_the_time_of_a_drain_that_goes_on() -> None:
    [pod] = SETTLED.pods
    leaving = replace(SETTLED, pods=[marked(pod, NOW - timedelta(seconds=30))])
    assert plan(leaving, replicas=0, drain={"timeout": "31s"}).remove == ()
    [removal] = plan(leaving, replicas=0, drain={"timeout": "30s"}).remove
    assert removal.cuts


def test_routers_are_asked_where_an_engine_drains_or_is_about_to_and_nowhere_else() -> None:
    [pod] = SETTLED.pods
    assert not plan(SETTLED).depends_on_routers
    assert plan(SETTLED, replicas=0).depends_on_routers
    assert plan(replace(SETTLED, pods=[marked(pod, NOW)]), replicas=0).depends_on_routers


def test_an_engine_is_replaced_when_its_node_is_cordoned() -> None:
    [pod] = SETTLED.pods
    placed = {**pod, "spec": {**pod["spec"], "nodeName": "node-a"}}
    assert engine_of(placed, {"node-a"}).cordoned
    assert not engine_of(placed, {"node-b"}).cordoned
    assert not engine_of(pod, {"node-b"}).cordoned
    made = plan(replace(SETTLED, pods=[placed], cordoned={"node-a"}))
    assert [step.key.name for step in made.apply if step.key.kind == "Pod"] == ["chat-engine-1"]


@pytest.mark.parametrize(("cordoned", "most"), [(set(), 0), ({"node-a"}, 0), (None, 1)])
def test_evictions_are_refused_by_who_sees_cordons_and_let_through_one_at_a_time_by_who_does_not(
    cordoned: set[str] | None, most: int
) -> None:
    [budget] = [
        step.manifest
        for step in plan(Observed(cordoned=cordoned)).apply
        if step.manifest["kind"] == "PodDisruptionBudget"
    ]
    assert budget["spec"]["maxUnavailable"] == most
    assert budget["spec"]["selector"]["matchLabels"]["fairlead.dev/component"] == "engine"


def test_a_paused_pool_is_left_as_it_is_and_says_what_is_left_to_do() -> None:
    [pod] = SETTLED.pods
    late = marked(pod, NOW - timedelta(hours=1))
    children = {key: child for key, child in SETTLED.children.items() if key.kind != "ConfigMap"}
    made = plan(replace(SETTLED, pods=[late], children=children), replicas=3, paused=True)
    assert not made.changes
    assert not made.depends_on_routers
    status = made.status or {}
    assert status["phase"] == "Paused"
    [progressing] = [c for c in status["conditions"] if c["type"] == "Progressing"]
    assert (progressing["status"], progressing["reason"]) == ("False", "Paused")
    assert "left to do is StartingEngines: 0 of 3 engines" in progressing["message"]


def test_a_paused_pool_with_its_status_needs_nothing() -> None:
    status = plan(SETTLED, paused=True).status
    assert plan(SETTLED, status, paused=True).empty
    [message] = [c["message"] for c in (status or {})["conditions"] if c["type"] == "Progressing"]
    assert message.endswith("nothing is left to do")


def test_a_pod_that_drains_is_not_mended() -> None:
    [pod] = SETTLED.pods
    labels = {**pod["metadata"]["labels"], "fairlead.dev/pool": "other"}
    edited = marked({**pod, "metadata": {**pod["metadata"], "labels": labels}}, NOW)
    assert plan(replace(SETTLED, pods=[edited]), replicas=0).apply == ()


def test_the_configuration_that_is_applied_is_the_one_that_routers_parse() -> None:
    step = next(step for step in FIRST.apply if step.key.kind == "ConfigMap")
    config = RouterConfig.from_yaml(step.manifest["data"]["config.yaml"])
    assert config == a_pool().spec.router_config("chat")


def test_every_child_is_owned_by_the_pool() -> None:
    for step in FIRST.apply:
        [owner] = step.manifest["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("uid-1", True)


def test_a_pod_is_read_as_the_kubelet_reports_it() -> None:
    [pod] = SETTLED.pods
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}}
    waiting["lastState"] = {"terminated": {"exitCode": 137}}  # type: ignore[dict-item]
    seen = engine_of({**pod, "status": {"containerStatuses": [waiting]}})
    assert seen.trouble == "CrashLoopBackOff (last exit code 137): back-off 10s"
    assert not seen.ready


def test_a_pod_that_no_node_can_take_is_in_trouble() -> None:
    [pod] = SETTLED.pods
    stuck = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert engine_of({**pod, "status": {"conditions": [stuck]}}).trouble == "Unschedulable: 0/3 nodes"


def test_only_the_controlling_pool_owns_an_object() -> None:
    [pod] = SETTLED.pods
    assert (owner_uid(pod), owner_name(pod)) == ("uid-1", "chat")
    [owner] = pod["metadata"]["ownerReferences"]
    for other in ({**owner, "controller": False}, {**owner, "kind": "ReplicaSet"}):
        stranger = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [other]}}
        assert (owner_uid(stranger), owner_name(stranger)) == (None, None)


@pytest.mark.parametrize(
    ("condition", "trouble"),
    [
        ({"type": "Progressing", "status": "False", "message": "deadline exceeded"}, "deadline exceeded"),
        ({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}, "exceeded quota"),
        ({"type": "Progressing", "status": "True", "message": "rolling out"}, ""),
    ],
)
def test_a_router_that_does_not_progress_is_told_in_the_deployments_words(
    condition: dict[str, str], trouble: str
) -> None:
    assert router_trouble({"status": {"conditions": [condition]}}) == trouble
