"""What the pool's status says: a pure function of the spec and of what was observed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead_operator.api.conditions import ConditionReason as Reason
from fairlead_operator.api.conditions import ConditionType, Phase
from fairlead_operator.api.pool import Pool
from fairlead_operator.plan.drain import Drain
from fairlead_operator.plan.engines import stays
from fairlead_operator.plan.metadata import router_name, selector
from fairlead_operator.plan.observed import Observed, router_available, router_settled, router_trouble
from fairlead_operator.plan.router_files import needs
from fairlead_operator.types import ChildKey, Engine
from fairlead_router.contract import Component

MESSAGE_LENGTH = 1024
"""A condition says what is wrong; the whole log is elsewhere."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without the times that the status adds."""

    type: ConditionType
    true: bool
    reason: Reason
    message: str


def pool_status(
    pool: Pool,
    observed: Observed,
    engines: Sequence[Engine],
    drains: Sequence[Drain],
    revision: str,
    *,
    previous: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Give the pool's whole status; `previous` is the one it has, `now` dates the conditions that change."""
    live = [engine for engine in engines if not engine.terminating and not engine.ended and not engine.draining]
    progressing = _progressing(pool, observed, engines, live, revision)
    conditions = [
        _ready(pool, observed, live),
        _paused(progressing) if pool.spec.paused else progressing,
        _degraded(pool, observed, live),
        _draining(drains),
    ]
    return {
        "phase": _phase(pool, conditions).value,
        "observedGeneration": pool.generation,
        "replicas": len(live),
        "readyReplicas": sum(engine.ready for engine in live),
        "updatedReplicas": sum(engine.revision == revision for engine in live),
        "drainingReplicas": sum(engine.terminating or engine.draining for engine in engines),
        "selector": ",".join(f"{name}={value}" for name, value in selector(pool.name, Component.ENGINE).items()),
        "revision": revision,
        "conditions": dated(conditions, previous, pool.generation, now),
    }


def invalid_status(message: str, generation: int, previous: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Give the status of a pool whose spec cannot be parsed; what it runs is left as it is, and so are the counts."""
    conditions = [
        Condition(ConditionType.READY, False, Reason.INVALID_SPEC, message),
        Condition(ConditionType.PROGRESSING, False, Reason.INVALID_SPEC, "nothing is changed until the spec is valid"),
        Condition(ConditionType.DEGRADED, True, Reason.INVALID_SPEC, message),
        Condition(ConditionType.DRAINING, False, Reason.INVALID_SPEC, "nothing is deleted until the spec is valid"),
    ]
    return {
        **previous,
        "phase": Phase.DEGRADED.value,
        "observedGeneration": generation,
        "conditions": dated(conditions, previous, generation, now),
    }


def _deployment(pool: Pool, observed: Observed) -> Any:
    return observed.children.get(ChildKey("Deployment", router_name(pool.name)))


def _ready(pool: Pool, observed: Observed, live: Sequence[Engine]) -> Condition:
    ready = sum(engine.ready for engine in live)
    if not router_available(_deployment(pool, observed)):
        message = f"no router pod is available yet{_needs(pool)}"
        return Condition(ConditionType.READY, False, Reason.ROUTER_NOT_READY, message)
    if pool.spec.replicas == 0 and ready == 0:
        return Condition(ConditionType.READY, False, Reason.SCALED_TO_ZERO, "spec.replicas is 0; scale up to serve")
    if ready == 0:
        message = f"none of {len(live)} engines is ready yet"
        return Condition(ConditionType.READY, False, Reason.NO_ENGINE_READY, message)
    return Condition(ConditionType.READY, True, Reason.SERVING, f"{ready} of {pool.spec.replicas} engines are ready")


def _needs(pool: Pool) -> str:
    """Say what a router pod waits for where it is not there; the operator may not read Secrets and cannot tell."""
    needed = needs(pool.spec.router)
    return f"; its pods start only when there is {needed}" if needed else ""


def _progressing(
    pool: Pool, observed: Observed, engines: Sequence[Engine], live: Sequence[Engine], revision: str
) -> Condition:
    current = [engine for engine in live if stays(engine, revision)]
    ready, wanted = sum(engine.ready for engine in current), pool.spec.replicas
    leaving = len(engines) - len(live)
    counts = f"{ready} of {wanted} engines of revision {revision} are ready"
    if len(current) < len(live):
        reason, message = Reason.REPLACING_ENGINES, f"{counts}; {_to_replace(live, revision)}"
    elif ready < wanted:
        reason, message = Reason.STARTING_ENGINES, counts
    elif leaving or len(live) > wanted:
        reason, message = Reason.STOPPING_ENGINES, f"{leaving or len(live) - wanted} engines are being removed"
    elif not router_settled(_deployment(pool, observed)):
        reason = Reason.ROLLING_OUT_ROUTER
        message = f"the router's Deployment is not as declared yet{_needs(pool)}"
    else:
        return Condition(ConditionType.PROGRESSING, False, Reason.AS_DECLARED, counts)
    return Condition(ConditionType.PROGRESSING, True, reason, message)


def _paused(progressing: Condition) -> Condition:
    """Say what would be done."""
    left = f"left to do is {progressing.reason}: {progressing.message}" if progressing.true else "nothing is left to do"
    message = f"nothing is created, changed or deleted while spec.paused is true; {left}"
    return Condition(ConditionType.PROGRESSING, False, Reason.PAUSED, message)


def _to_replace(live: Sequence[Engine], revision: str) -> str:
    older = sum(engine.revision != revision for engine in live)
    cordoned = sum(engine.revision == revision and engine.cordoned for engine in live)
    parts = (f"{older} of older revisions" if older else "", f"{cordoned} on cordoned nodes" if cordoned else "")
    return f"{' and '.join(part for part in parts if part)} to be replaced"


def _degraded(pool: Pool, observed: Observed, live: Sequence[Engine]) -> Condition:
    failing = [f"{engine.name}: {engine.trouble}" for engine in live if engine.trouble]
    if observed.conflicts:
        names = ", ".join(sorted(map(str, observed.conflicts)))
        message = f"{names} exists and does not belong to this pool; rename one of them or delete it"
        return Condition(ConditionType.DEGRADED, True, Reason.NAME_CONFLICT, message)
    if observed.refusals:
        return Condition(ConditionType.DEGRADED, True, Reason.API_REFUSED, "; ".join(observed.refusals))
    if failing:
        return Condition(ConditionType.DEGRADED, True, Reason.ENGINE_FAILING, "; ".join(failing))
    if trouble := router_trouble(_deployment(pool, observed)):
        return Condition(ConditionType.DEGRADED, True, Reason.ROUTER_FAILING, f"{trouble}{_needs(pool)}")
    return Condition(ConditionType.DEGRADED, False, Reason.HEALTHY, "nothing is known to be wrong")


def _draining(drains: Sequence[Drain]) -> Condition:
    if not drains:
        return Condition(ConditionType.DRAINING, False, Reason.NOTHING_DRAINS, "no engine drains")
    message = "; ".join(
        f"{drain.engine.name} until {as_time(drain.until_seconds)} at the latest: {_waits_for(drain)}"
        for drain in drains
    )
    doubtful = any(drain.doubts for drain in drains)
    reason = Reason.WAITING_FOR_ROUTERS if doubtful else Reason.WAITING_FOR_REQUESTS
    return Condition(ConditionType.DRAINING, True, reason, message)


def _waits_for(drain: Drain) -> str:
    return ", ".join((f"{drain.in_flight} in flight", *drain.doubts))


def as_time(seconds: float) -> str:
    """Write a time as Kubernetes does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _phase(pool: Pool, conditions: Sequence[Condition]) -> Phase:
    ready, progressing, degraded, _ = (condition.true for condition in conditions)
    if degraded:
        return Phase.DEGRADED
    if pool.spec.paused:
        return Phase.PAUSED
    if pool.spec.replicas == 0 and not ready and not progressing:
        return Phase.STOPPED
    if progressing:
        return Phase.PROGRESSING if ready else Phase.PENDING
    return Phase.READY if ready else Phase.PENDING


def dated(
    conditions: Sequence[Condition], previous: Mapping[str, Any], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Write conditions as the API has them; one whose status did not change keeps its time of transition."""
    before = {condition["type"]: condition for condition in previous.get("conditions", ())}
    written = []
    for condition in conditions:
        status = "True" if condition.true else "False"
        old = before.get(condition.type, {})
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        written.append(
            {
                "type": condition.type.value,
                "status": status,
                "observedGeneration": generation,
                "lastTransitionTime": since or as_time(now.timestamp()),
                "reason": condition.reason.value,
                "message": condition.message[:MESSAGE_LENGTH],
            }
        )
    return written
