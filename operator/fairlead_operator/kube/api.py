"""Requests to the API server, in the operator's words: list, get, apply, adopt, annotate, delete.

Objects are plain mappings as they stand in JSON; nothing is converted to model classes, so that a field which a client
library does not know yet is neither lost nor written back empty.
"""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient

from fairlead_operator.api.pool import API_VERSION, KIND, PLURAL
from fairlead_operator.errors import ApiError, ConflictError, NotFoundError, RefusedError, UnavailableError
from fairlead_operator.plan.metadata import MANAGED_BY
from fairlead_operator.types import Manifest

TIMEOUT_SECONDS = 30.0
"""Longest wait for one answer."""

PAGE = 500
"""Objects in one answer to a list."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    kind: str
    api_version: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Give the URL path of a collection or of one object."""
        prefix = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [prefix]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


POOLS = Resource(KIND, API_VERSION, PLURAL)
PODS = Resource("Pod", "v1", "pods")
NODES = Resource("Node", "v1", "nodes")
CHILDREN = (
    PODS,
    Resource("Service", "v1", "services"),
    Resource("ConfigMap", "v1", "configmaps"),
    Resource("ServiceAccount", "v1", "serviceaccounts"),
    Resource("Deployment", "apps/v1", "deployments"),
    Resource("Role", "rbac.authorization.k8s.io/v1", "roles"),
    Resource("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
    Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets"),
)
EVENTS = Resource("Event", "events.k8s.io/v1", "events")
BY_KIND = {resource.kind: resource for resource in (POOLS, *CHILDREN, EVENTS)}


class Api:
    """The API server. Every method raises `ApiError`s and nothing else."""

    def __init__(self, client: ApiClient) -> None:
        self._dynamic = DynamicClient(client)

    async def list_all(
        self, resource: Resource, namespace: str | None, labels: str | None = None, fields: str | None = None
    ) -> list[Manifest]:
        """Read all objects of a kind, in one namespace or in all; `labels` and `fields` select among them."""
        items: list[Manifest] = []
        token: str | None = None
        while True:
            page = await self._ask(
                "get",
                resource.path(namespace),
                label_selector=labels,
                field_selector=fields,
                limit=PAGE,
                **({"_continue": token} if token else {}),
            )
            # the items of a list carry neither kind nor version
            items += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            token = page["metadata"].get("continue")
            if not token:
                return items

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """Read one object; None where there is none."""
        try:
            live: Manifest = await self._ask("get", resource.path(namespace, name))
        except NotFoundError:
            return None
        return live

    async def apply(self, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Apply a manifest server-side as the operator's own; give the object as it now stands."""
        resource, metadata = BY_KIND[manifest["kind"]], manifest["metadata"]
        live: Manifest = await self._ask(
            "patch",
            resource.path(metadata["namespace"], metadata["name"], subresource),
            body=dict(manifest),
            content_type="application/apply-patch+yaml",
            field_manager=MANAGED_BY,
            force_conflicts=True,
        )
        return live

    async def adopt(self, live: Manifest, managed_fields: list[dict[str, Any]]) -> None:
        """Give an object other managed fields, unless it changed since it was read."""
        resource, metadata = BY_KIND[live["kind"]], live["metadata"]
        await self._ask(
            "patch",
            resource.path(metadata["namespace"], metadata["name"]),
            body=[
                {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
                {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields},
            ],
            content_type="application/json-patch+json",
            field_manager=MANAGED_BY,
        )

    async def annotate(
        self, resource: Resource, namespace: str, name: str, *, uid: str, annotations: Mapping[str, str]
    ) -> Manifest:
        """Set annotations on this very object and give it as it now stands; applying a manifest does not remove them.

        An object of another uid that has taken the name is left alone: the API server refuses.
        """
        live: Manifest = await self._ask(
            "patch",
            resource.path(namespace, name),
            body={"metadata": {"uid": uid, "annotations": dict(annotations)}},
            content_type="application/merge-patch+json",
            field_manager=MANAGED_BY,
        )
        return live

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, grace_seconds: int) -> None:
        """Delete this very object; one that is gone already, or whose name another has, is no error.

        `grace_seconds` takes the place of the grace period that the object itself has.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": grace_seconds,
            "preconditions": {"uid": uid},
        }
        try:
            await self._ask("delete", resource.path(namespace, name), body=body)
        except (NotFoundError, ConflictError):
            return

    async def create(self, manifest: Manifest) -> None:
        """Create an object."""
        resource = BY_KIND[manifest["kind"]]
        path = resource.path(manifest["metadata"]["namespace"])
        await self._ask("post", path, body=dict(manifest), field_manager=MANAGED_BY)

    async def _ask(self, method: str, path: str, **parameters: Any) -> Any:
        async def answer() -> Any:
            response = await self._dynamic.request(method, path, serialize=False, **parameters)
            return await response.json()

        return await _translated(answer(), f"{method.upper()} {path}")


async def _translated(request: Awaitable[Any], what: str) -> Any:
    """Map every foreign error to one of the operator's own."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await request
    except ApiException as error:
        raise _api_error(error, what) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnavailableError(f"{what}: {type(error).__name__} {error}".rstrip()) from error


def _api_error(error: ApiException, what: str) -> ApiError:
    message = f"{what}: {_message(error)}"
    if error.status == 404:
        return NotFoundError(message)
    if error.status == 409:
        return ConflictError(message)
    if error.status == 429 or error.status is None or error.status >= 500:
        return UnavailableError(message, _retry_after(error.headers or {}))
    if error.status == 401:  # a token that is being renewed
        return UnavailableError(message)
    return RefusedError(message)


def _message(error: ApiException) -> str:
    """Give the API server's own words, which name the field and what is allowed."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
