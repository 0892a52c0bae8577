"""Pods as endpoints: the pure part of discovery in Kubernetes."""

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead_router.contract import ENGINE_PORT, Annotation, EndpointState, Label, Role
from fairlead_router.decisions.types import EndpointView

_ROLES = {role.value: role for role in Role}

Object = Mapping[str, Any]
"""A Kubernetes object as the API server sends it."""


class ResourceExpiredError(Exception):
    """The resource version is too old to go on from (410): list again."""


class Table:
    """Objects by uid, kept by a list and the watch events after it."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.resource_version = ""
        """Version to go on watching from; empty before the first list and after `ResourceExpiredError`."""

    def replace(self, listed: Object) -> None:
        """Take the answer to a list."""
        self.objects = {item["metadata"]["uid"]: item for item in listed.get("items") or ()}
        self.resource_version = listed["metadata"]["resourceVersion"]

    def apply(self, event: Object) -> bool:
        """Take one watch event; returns whether the objects changed.

        Raises
        ------
        ResourceExpiredError
            The watch cannot go on; `resource_version` is cleared.
        ValueError
            The API server reports another error, or the event makes no sense.

        """
        kind, item = event.get("type"), event.get("object")
        if not isinstance(item, Mapping):
            raise ValueError(f"not a watch event: {event!r:.200}")  # noqa: TRY004 - data from outside, not a type error
        if kind == "ERROR":
            self._fail(item)
        metadata = item["metadata"]
        self.resource_version = metadata["resourceVersion"]
        match kind:
            case "BOOKMARK":
                return False
            case "DELETED":
                return self.objects.pop(metadata["uid"], None) is not None
            case "ADDED" | "MODIFIED":
                self.objects[metadata["uid"]] = item
                return True
        raise ValueError(f"unknown kind of watch event: {kind!r:.50}")

    def _fail(self, status: Object) -> None:
        if status.get("code") == 410:
            self.expire()
            raise ResourceExpiredError(status.get("message", "too old resource version"))
        raise ValueError(f"the API server reports {status.get('code')}: {status.get('message')}")

    def expire(self) -> None:
        """Forget the version, so that the next step is a list; the objects stay the last view."""
        self.resource_version = ""


def endpoints_of(pods: Iterable[Object]) -> list[EndpointView]:
    """Return the endpoints of the pods that have an address."""
    views = (endpoint_of(pod) for pod in pods)
    return [view for view in views if view is not None]


def endpoint_of(pod: Object, port: int = ENGINE_PORT) -> EndpointView | None:
    """Return the endpoint that a pod is, or None while it has no address or when it has ended."""
    status = pod.get("status") or {}
    address = status.get("podIP")
    if not address or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    metadata = pod["metadata"]
    host = f"[{address}]" if ":" in address else address
    labels = metadata.get("labels") or {}
    return EndpointView(
        uid=metadata["uid"],
        address=f"{host}:{port}",
        state=_state(metadata, status),
        name=metadata["name"],
        revision=labels.get(Label.REVISION, ""),
        role=_ROLES.get(labels.get(Label.ROLE, ""), Role.BOTH),
    )


def _state(metadata: Object, status: Object) -> EndpointState:
    annotations = metadata.get("annotations") or {}
    if metadata.get("deletionTimestamp") or Annotation.DRAINING in annotations:
        return EndpointState.DRAINING
    conditions = status.get("conditions") or ()
    is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return EndpointState.READY if is_ready else EndpointState.NOT_READY
