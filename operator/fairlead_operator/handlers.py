"""kopf's part: events keep the store up to date and wake the work queue. Nothing is decided here.

Only kopf's low-level handlers are used. They write nothing to the objects they watch: no annotations, no finalizers,
so a pool can be deleted while no operator runs.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from fairlead_operator.kube.api import CHILDREN, POOLS, Resource
from fairlead_operator.plan.observed import owner_uid
from fairlead_operator.store import Store
from fairlead_operator.types import Manifest
from fairlead_operator.work_queue import WorkQueue

When = Callable[..., bool]
"""Whether an object is the operator's business, in the form that kopf asks."""


def registry(store: Store, queue: WorkQueue) -> kopf.OperatorRegistry:
    """Register the handlers of one operator."""
    handlers = kopf.OperatorRegistry()
    _log_in(handlers)
    _watch(handlers, POOLS, store, queue)
    for resource in CHILDREN:
        _watch(handlers, resource, store, queue, when=_is_owned)
    return handlers


def settings() -> kopf.OperatorSettings:
    """Give kopf's settings: nothing is posted or patched by kopf, and lost watches are noticed."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False  # events are the operator's own, with stable reasons
    chosen.scanning.disabled = True  # it needs no rights on namespaces and CRDs, and its kinds do not change
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 360
    chosen.watching.connect_timeout = 10
    return chosen


def quiet_logs() -> None:
    """Keep kopf's line for every event out of the log; its warnings stay."""
    logging.getLogger("kopf").setLevel(logging.WARNING)


def _is_owned(body: kopf.Body, **_: Any) -> bool:
    return owner_uid(body) is not None


def _log_in(handlers: kopf.OperatorRegistry) -> None:
    @kopf.on.login(registry=handlers)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _watch(
    handlers: kopf.OperatorRegistry, resource: Resource, store: Store, queue: WorkQueue, when: When | None = None
) -> None:
    group, _, version = resource.api_version.rpartition("/")
    where = (group, version, resource.plural)

    def _typed(body: Mapping[str, Any]) -> Manifest:
        return {**body, "apiVersion": resource.api_version, "kind": resource.kind}  # items of a list carry neither

    @kopf.index(*where, id=f"list-{resource.plural}", registry=handlers, when=when)
    async def listed(body: kopf.Body, **_: Any) -> None:
        """Take an object in. kopf calls no event handler before every indexed kind was listed: the first plan sees all."""
        store.put(_typed(body))

    @kopf.on.event(*where, id=f"watch-{resource.plural}", registry=handlers, when=when)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        manifest = _typed(event["object"])
        key = store.remove(manifest) if event["type"] == "DELETED" else store.put(manifest)
        if key is not None:
            queue.wake(key)
