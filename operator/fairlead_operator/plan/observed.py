"""What the objects in the cluster say of a pool: pure readings of manifests."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairlead_operator.api.pool import KIND
from fairlead_operator.types import ChildKey, Engine, Manifest, RouterReport
from fairlead_router.contract import Annotation, Label

FAILING = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that waiting does not mend."""


NOT_ASKED = (RouterReport("the routers", trouble="not asked yet"),)
"""What routers say before anybody asked them: nothing, which is not that nothing runs."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The objects that a pool owns, and the names it wants that belong to somebody else."""

    pods: Sequence[Manifest] = ()
    children: Mapping[ChildKey, Manifest] = field(default_factory=dict)
    conflicts: frozenset[ChildKey] = frozenset()
    refusals: tuple[str, ...] = ()
    """What the API server said when it refused a write of the last attempt."""
    routers: Sequence[RouterReport] = NOT_ASKED
    """What every router that lives says of the engines."""
    cordoned: Set[str] | None = None
    """Nodes that are cordoned; None where the operator may not look at nodes."""


def owner_uid(manifest: Manifest) -> str | None:
    """Give the uid of the pool that controls an object, or None."""
    return _of_controlling_pool(manifest, "uid")


def owner_name(manifest: Manifest) -> str | None:
    """Give the name of the pool that controls an object, or None."""
    return _of_controlling_pool(manifest, "name")


def _of_controlling_pool(manifest: Manifest, name: str) -> str | None:
    for owner in manifest["metadata"].get("ownerReferences", ()):
        if owner.get("controller") and owner["kind"] == KIND:
            return str(owner[name])
    return None


def engine_of(pod: Manifest, cordoned: Set[str] | None = None) -> Engine:
    """Read an engine pod; `cordoned` are the nodes that are."""
    metadata, status = pod["metadata"], pod.get("status", {})
    return Engine(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=metadata.get("labels", {}).get(Label.REVISION, ""),
        created_seconds=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        ready=_condition(status, "Ready") == "True",
        addressed=bool(status.get("podIP")),
        cordoned=pod["spec"].get("nodeName") in (cordoned or ()),
        draining_since_seconds=_marked_at(metadata.get("annotations", {}).get(Annotation.DRAINING)),
        terminating="deletionTimestamp" in metadata,
        ended=status.get("phase") in {"Failed", "Succeeded"},
        trouble=_trouble(status),
    )


def _marked_at(mark: str | None) -> float | None:
    if mark is None:
        return None
    try:
        marked = datetime.fromisoformat(mark)
    except ValueError:
        return math.inf
    return marked.timestamp() if marked.tzinfo else math.inf


def _condition(status: Mapping[str, Any], kind: str) -> str:
    return next((c["status"] for c in status.get("conditions", ()) if c["type"] == kind), "Unknown")


def _trouble(status: Mapping[str, Any]) -> str:
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in FAILING:
            ended = container.get("lastState", {}).get("terminated", {})
            detail = waiting.get("message") or ""
            code = f" (last exit code {ended['exitCode']})" if "exitCode" in ended else ""
            return f"{waiting['reason']}{code}: {detail}".rstrip(": ")
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return f"Unschedulable: {condition.get('message', '')}"
    return ""


def router_available(deployment: Manifest | None) -> bool:
    """Tell whether at least one router pod serves."""
    return deployment is not None and deployment.get("status", {}).get("availableReplicas", 0) > 0


def router_settled(deployment: Manifest | None) -> bool:
    """Tell whether every router pod is of the declared kind and available."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    return (
        bool(status.get("observedGeneration") == deployment["metadata"].get("generation"))
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def router_trouble(deployment: Manifest | None) -> str:
    """Say why the router's Deployment does not progress, or nothing."""
    for condition in (deployment or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return str(condition.get("message", ""))
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition.get("message", ""))
    return ""
