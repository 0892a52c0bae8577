"""One step of one pool: read what is known, plan, write what the plan says, say how it went.

Level-based: nothing here depends on which event woke it, and a second run without a change writes nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.api.conditions import EventReason
from fairlead_operator.api.pool import API_VERSION, KIND, InvalidPoolError, Pool, parse_pool
from fairlead_operator.contract import Result
from fairlead_operator.errors import ConflictError, NameTakenError, NotFoundError, RefusedError, UnavailableError
from fairlead_operator.kube.api import BY_KIND, PODS, Api
from fairlead_operator.kube.events import Events
from fairlead_operator.metrics import Metrics
from fairlead_operator.plan.engine_pod import DRAINED_GRACE_SECONDS
from fairlead_operator.plan.pool import Apply, Plan, draining_mark, owned_by, plan_pool
from fairlead_operator.plan.status import invalid_status
from fairlead_operator.routers import Routers
from fairlead_operator.store import Store
from fairlead_operator.types import ChildKey, Images, Key, Manifest, Removal
from fairlead_operator.work_queue import Again

logger = logging.getLogger(__name__)

REFUSED_RETRY_SECONDS = 15.0
"""A quota or a name may become free without an event that the operator sees."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What stood in the way of a plan."""

    conflicts: frozenset[ChildKey] = frozenset()
    refusals: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conflicts or self.refusals)


class Reconciler:
    """Brings pools to their specs; see `reconcile`."""

    def __init__(
        self,
        store: Store,
        api: Api,
        routers: Routers,
        events: Events,
        metrics: Metrics,
        images: Images,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._api = api
        self._routers = routers
        self._events = events
        self._metrics = metrics
        self._images = images
        self._now = now

    async def reconcile(self, key: Key) -> Again | None:
        """Take a pool one step; say when to look at it again, or None when an event will tell."""
        again: Again | None
        with self._metrics.reconcile_seconds.time():
            try:
                result, again = await self._step(key)
            except UnavailableError as error:
                logger.warning("%s: the API server is not available: %s", key, error)
                result, again = Result.UNAVAILABLE, Again(error.retry_after_seconds or 0.0)
            except ConflictError as error:
                logger.info("%s: changed under the plan, planning again: %s", key, error)
                result, again = Result.CONFLICT, Again(0.0)
            except NotFoundError as error:
                logger.info("%s: gone under the plan: %s", key, error)
                result, again = Result.GONE, None
            except RefusedError as error:
                logger.warning("%s: the API server refuses: %s", key, error)
                result, again = Result.REFUSED, Again(REFUSED_RETRY_SECONDS)
            except Exception:  # the one guard: a fault met in one pool must not stop the work on all others
                logger.exception("%s: the reconcile failed", key)
                result, again = Result.FAILED, Again(REFUSED_RETRY_SECONDS)
        self._metrics.reconciles.labels(result).inc()
        return again

    async def _step(self, key: Key) -> tuple[Result, Again | None]:
        manifest = self._store.pool(key)
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            return Result.GONE, None  # its children go by their owner references
        try:
            pool = parse_pool(manifest)
        except InvalidPoolError as error:
            return await self._say_invalid(manifest, str(error)), None
        previous = manifest.get("status", {})
        observed = self._store.observed(pool)
        first = plan = plan_pool(pool, observed, previous, self._images, self._now())
        if plan.depends_on_routers:
            observed = replace(observed, routers=await self._routers.ask(pool))
            first = plan = plan_pool(pool, observed, previous, self._images, self._now())
        obstacles = await self._execute(pool, manifest, plan)
        if plan.changes:
            observed = replace(
                self._store.observed(pool),
                routers=observed.routers,
                conflicts=obstacles.conflicts,
                refusals=obstacles.refusals,
            )
            plan = plan_pool(pool, observed, previous, self._images, self._now())
        if plan.status is not None:
            await self._write_status(manifest, plan.status)
            await self._warn_of(obstacles, manifest)
        if obstacles:
            return Result.REFUSED, Again(REFUSED_RETRY_SECONDS)
        wait_seconds = plan.look_again_seconds
        again = None if wait_seconds is None else Again(wait_seconds, failed=False)
        return (Result.UNCHANGED if first.empty else Result.CHANGED), again

    async def _execute(self, pool: Pool, manifest: Manifest, plan: Plan) -> Obstacles:
        """Do what the plan says; one child that cannot be written does not keep the others from being written."""
        conflicts: set[ChildKey] = set()
        refusals: list[str] = []
        for step in plan.apply:
            try:
                await self._apply(pool, manifest, step)
            except NameTakenError:
                conflicts.add(step.key)
            except RefusedError as error:
                refusals.append(str(error))
        for draining in plan.drain:
            await self._mark(manifest, draining)
        for removal in plan.remove:
            await self._remove(manifest, removal)
        return Obstacles(frozenset(conflicts), tuple(refusals))

    async def _apply(self, pool: Pool, manifest: Manifest, step: Apply) -> None:
        resource, metadata = BY_KIND[step.key.kind], step.manifest["metadata"]
        if step.new:
            # nothing of ours is known by this name: never take over what somebody else made
            live = await self._api.get(resource, metadata["namespace"], metadata["name"])
            if live is not None and not owned_by(pool, live):
                raise NameTakenError(f"{step.key} exists and does not belong to this pool")
        if step.adopt:
            live = self._store.observed(pool).children[step.key]
            await self._api.adopt(live, list(step.adopt))
        self._store.put(await self._api.apply(step.manifest))
        self._metrics.writes.labels(step.key.kind, "apply").inc()
        logger.info("%s/%s: applied %s", pool.namespace, pool.name, step.key)
        if step.new and step.key.kind == PODS.kind:
            await self._events.note(manifest, EventReason.ENGINE_CREATED, f"created {step.key.name}")
        elif not step.new:
            await self._events.note(manifest, EventReason.CHILD_REPAIRED, f"brought {step.key} back to the spec")

    async def _mark(self, manifest: Manifest, draining: Removal) -> None:
        engine, namespace = draining.engine, manifest["metadata"]["namespace"]
        mark = draining_mark(self._now())
        self._store.put(await self._api.annotate(PODS, namespace, engine.name, uid=engine.uid, annotations=mark))
        self._metrics.writes.labels(PODS.kind, "annotate").inc()
        logger.info("%s/%s: draining %s: %s", namespace, manifest["metadata"]["name"], engine.name, draining.why)
        await self._events.note(manifest, EventReason.ENGINE_DRAINING, f"draining {engine.name}: {draining.why}")

    async def _remove(self, manifest: Manifest, removal: Removal) -> None:
        engine, namespace = removal.engine, manifest["metadata"]["namespace"]
        await self._api.delete(PODS, namespace, engine.name, uid=engine.uid, grace_seconds=DRAINED_GRACE_SECONDS)
        self._metrics.writes.labels(PODS.kind, "delete").inc()
        logger.info("%s/%s: removed %s: %s", namespace, manifest["metadata"]["name"], engine.name, removal.why)
        text = f"removed {engine.name}: {removal.why}"
        if removal.cuts:
            await self._events.warn(manifest, EventReason.DRAIN_TIMED_OUT, text)
        else:
            await self._events.note(manifest, EventReason.ENGINE_REMOVED, text)

    async def _warn_of(self, obstacles: Obstacles, manifest: Manifest) -> None:
        """Post what stands in the way; called when the status says something new, so not at every retry."""
        for key in sorted(obstacles.conflicts):
            text = f"{key} exists and does not belong to this pool"
            await self._events.warn(manifest, EventReason.NAME_CONFLICT, text)
        for refusal in obstacles.refusals:
            await self._events.warn(manifest, EventReason.API_REFUSED, refusal)

    async def _say_invalid(self, manifest: Manifest, message: str) -> Result:
        previous = manifest.get("status", {})
        status = invalid_status(message, manifest["metadata"]["generation"], previous, self._now())
        if status != previous:
            await self._write_status(manifest, status)
            await self._events.warn(manifest, EventReason.INVALID_SPEC, message)
        return Result.INVALID

    async def _write_status(self, manifest: Manifest, status: dict[str, Any]) -> None:
        metadata = {name: manifest["metadata"][name] for name in ("name", "namespace")}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}
        self._store.put(await self._api.apply(body, "status"))
        self._metrics.writes.labels(KIND, "status").inc()
