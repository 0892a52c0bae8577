"""The whole plan of one pool: what to apply, which engines to create and remove, what to say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.api.pool import InferencePoolSpec, Pool
from fairlead_operator.plan.disruption import disruption_budget
from fairlead_operator.plan.drain import drained, drains, in_flight, look_again_seconds, misdated
from fairlead_operator.plan.drift import adopted, differs, meddled
from fairlead_operator.plan.engine_pod import engine_image, engine_pod, mended_pod, revision
from fairlead_operator.plan.engines import plan_engines
from fairlead_operator.plan.observed import Observed, engine_of
from fairlead_operator.plan.router_children import router_children
from fairlead_operator.plan.status import pool_status
from fairlead_operator.types import ChildKey, Engine, Images, Manifest, Removal, Wanted
from fairlead_router.contract import Annotation


@dataclass(frozen=True, slots=True)
class Apply:
    """A manifest to apply. `new`: nothing of that name is known. `adopt`: managed fields to take over first."""

    manifest: dict[str, Any]
    new: bool
    adopt: tuple[dict[str, Any], ...] = ()

    @property
    def key(self) -> ChildKey:
        """Identity of the object."""
        return ChildKey(self.manifest["kind"], self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for a pool now; a settled pool's plan is empty but for the status it has already."""

    apply: tuple[Apply, ...]
    drain: tuple[Removal, ...]
    """Engines to mark as draining."""
    remove: tuple[Removal, ...]
    status: dict[str, Any] | None
    """The status to write; None where the pool has it already."""
    look_again_seconds: float | None = None
    """After which routers may say something else, which no event tells; None where nothing drains."""

    @property
    def changes(self) -> bool:
        """Something other than the status needs to be written."""
        return bool(self.apply or self.drain or self.remove)

    @property
    def empty(self) -> bool:
        """Nothing needs to be written."""
        return not self.changes and self.status is None

    @property
    def depends_on_routers(self) -> bool:
        """Another plan may be right when one knows what runs where."""
        return bool(self.drain) or self.look_again_seconds is not None


def plan_pool(pool: Pool, observed: Observed, previous: Mapping[str, Any], images: Images, now: datetime) -> Plan:
    """Plan the next step of a pool whose status is `previous`."""
    engines = [engine_of(pod, observed.cordoned) for pod in observed.pods]
    current = revision(pool, images)
    going_on = drains(engines, observed.routers, pool.spec.drain.timeout_seconds, now.timestamp())
    engine_plan = plan_engines(pool.name, wanted(pool.spec, current), engines, in_flight(observed.routers))
    status = {
        **pool_status(pool, observed, engines, going_on, current, previous=previous, now=now),
        "image": engine_image(pool.spec.engine, images),
    }
    told = status if status != previous else None
    if pool.spec.paused:
        return Plan(apply=(), drain=(), remove=(), status=told)
    return Plan(
        apply=(
            *_children(pool, observed, images),
            *_drifted_pods(pool, observed.pods, engines, current, images),
            *(Apply(engine_pod(pool, name, images), new=True) for name in engine_plan.create),
        ),
        drain=(*misdated(engines, now.timestamp()), *engine_plan.drain),
        remove=(*engine_plan.remove, *drained(going_on, now.timestamp())),
        status=told,
        look_again_seconds=look_again_seconds(going_on, now.timestamp()),
    )


def _children(pool: Pool, observed: Observed, images: Images) -> list[Apply]:
    steps = []
    budget = disruption_budget(pool, sees_cordons=observed.cordoned is not None)
    for manifest in (*router_children(pool, images), budget):
        key = ChildKey(manifest["kind"], manifest["metadata"]["name"])
        live = observed.children.get(key)
        if live is None:
            steps.append(Apply(manifest, new=True))
        elif "deletionTimestamp" in live["metadata"]:
            continue  # it comes back with the event of its end
        elif meddled(live):
            steps.append(Apply(manifest, new=False, adopt=tuple(adopted(live))))
        elif differs(manifest, live):
            steps.append(Apply(manifest, new=False))
    return steps


def _drifted_pods(
    pool: Pool, pods: Sequence[Manifest], engines: Sequence[Engine], current: str, images: Images
) -> list[Apply]:
    """Give the engine pods whose labels or image somebody edited; older revisions are replaced, not mended."""
    return [
        Apply(manifest, new=False)
        for pod, engine in zip(pods, engines, strict=True)
        if engine.revision == current and not engine.terminating and not engine.ended and not engine.draining
        if differs(manifest := mended_pod(pool, pod, images), pod)
    ]


def wanted(spec: InferencePoolSpec, current: str) -> Wanted:
    """Give the engines that a spec asks for, of the revision that it makes now."""
    rollout = spec.rollout
    return Wanted(spec.replicas, current, surge=rollout.max_surge, unavailable=rollout.max_unavailable)


def draining_mark(now: datetime) -> dict[str, str]:
    """Give the annotation that marks a pod as draining since now."""
    return {Annotation.DRAINING.value: now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def owned_by(pool: Pool, manifest: Manifest) -> bool:
    """Tell whether an object belongs to this very pool, and not to another or to an earlier one of that name."""
    return any(owner.get("uid") == pool.uid for owner in manifest["metadata"].get("ownerReferences", ()))
