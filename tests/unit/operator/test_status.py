"""What a pool's status says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pools import IMAGES, a_pool, as_stored

from fairlead_operator.plan.drain import drains
from fairlead_operator.plan.observed import Observed
from fairlead_operator.plan.router_children import router_children
from fairlead_operator.plan.status import invalid_status, pool_status
from fairlead_operator.types import ChildKey, Engine, Placed, RouterReport

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEPLOYMENT = ChildKey("Deployment", "chat-router")


def router(*, available: int = 1, **condition: str) -> Observed:
    manifest = next(child for child in router_children(a_pool(), IMAGES) if child["kind"] == "Deployment")
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": available, "observedGeneration": 1}
    conditions = [condition] if condition else []
    return Observed(children={DEPLOYMENT: as_stored(manifest, conditions=conditions, **counts)})


def engine(number: int = 0, **values: Any) -> Engine:
    base = Engine(name=f"chat-engine-{number}", uid=str(number), revision="r1", created_seconds=0.0, ready=True)
    return replace(base, **values)


def status(*engines: Engine, observed: Observed | None = None, replicas: int = 1) -> dict[str, Any]:
    going_on = drains(engines, [], timeout_seconds=300, now_seconds=NOW.timestamp())
    return pool_status(a_pool(replicas=replicas), observed or router(), engines, going_on, "r1", previous={}, now=NOW)


def condition(of: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(c for c in of["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


CASES = [
    # what is there, then Ready, Progressing, Degraded, phase
    ("as declared", status(engine()), "Serving", "AsDeclared", "Healthy", "Ready"),
    ("no engine yet", status(), "NoEngineReady", "StartingEngines", "Healthy", "Pending"),
    ("engine starting", status(engine(ready=False)), "NoEngineReady", "StartingEngines", "Healthy", "Pending"),
    ("one of two", status(engine(), replicas=2), "Serving", "StartingEngines", "Healthy", "Progressing"),
    ("rollout", status(engine(), engine(1, revision="r0")), "Serving", "ReplacingEngines", "Healthy", "Progressing"),
    (
        "scale-down",
        status(engine(), engine(1, terminating=True)),
        "Serving",
        "StoppingEngines",
        "Healthy",
        "Progressing",
    ),
    (
        "draining",
        status(engine(), engine(1, draining_since_seconds=NOW.timestamp())),
        "Serving",
        "StoppingEngines",
        "Healthy",
        "Progressing",
    ),
    (
        "node cordoned",
        status(engine(cordoned=True), engine(1)),
        "Serving",
        "ReplacingEngines",
        "Healthy",
        "Progressing",
    ),
    ("no router", status(engine(), observed=Observed()), "RouterNotReady", "RollingOutRouter", "Healthy", "Pending"),
    (
        "router starting",
        status(engine(), observed=router(available=0)),
        "RouterNotReady",
        "RollingOutRouter",
        "Healthy",
        "Pending",
    ),
    ("scaled to zero", status(replicas=0), "ScaledToZero", "AsDeclared", "Healthy", "Stopped"),
    (
        "crash loop",
        status(engine(ready=False, trouble="CrashLoopBackOff: x")),
        "NoEngineReady",
        "StartingEngines",
        "EngineFailing",
        "Degraded",
    ),
    (
        "router stuck",
        status(engine(), observed=router(type="Progressing", status="False", message="deadline")),
        "Serving",
        "AsDeclared",
        "RouterFailing",
        "Degraded",
    ),
    (
        "name taken",
        status(engine(), observed=replace(router(), conflicts=frozenset({ChildKey("Service", "chat")}))),
        "Serving",
        "AsDeclared",
        "NameConflict",
        "Degraded",
    ),
    (
        "quota",
        status(engine(), observed=replace(router(), refusals=("exceeded quota",))),
        "Serving",
        "AsDeclared",
        "ApiRefused",
        "Degraded",
    ),
]


@pytest.mark.parametrize(
    ("told", "ready", "progressing", "degraded", "phase"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_conditions_and_phase_say_what_is_there(
    told: dict[str, Any], ready: str, progressing: str, degraded: str, phase: str
) -> None:
    assert condition(told, "Ready") == (str(ready == "Serving"), ready)
    assert condition(told, "Progressing") == (str(progressing != "AsDeclared"), progressing)
    assert condition(told, "Degraded") == (str(degraded != "Healthy"), degraded)
    assert told["phase"] == phase


def test_counts_tell_live_ready_updated_and_leaving_engines() -> None:
    told = status(
        engine(0),
        engine(1, ready=False),
        engine(2, revision="r0"),
        engine(3, terminating=True),
        engine(4, draining_since_seconds=NOW.timestamp()),
    )
    assert [told[name] for name in ("replicas", "readyReplicas", "updatedReplicas", "drainingReplicas")] == [3, 2, 2, 2]


MARKED = engine(draining_since_seconds=NOW.timestamp())


@pytest.mark.parametrize(
    ("reports", "reason", "message"),
    [
        (
            [RouterReport("a", {"0": Placed(True, 2)}), RouterReport("b", {"0": Placed(True, 1)})],
            "WaitingForRequests",
            "chat-engine-0 until 2026-01-02T03:09:05Z at the latest: 3 in flight",
        ),
        (
            [RouterReport("a", {"0": Placed(True, 2)}), RouterReport("b", trouble="no answer within 2 s")],
            "WaitingForRouters",
            "chat-engine-0 until 2026-01-02T03:09:05Z at the latest: 2 in flight, "
            "b cannot be asked: no answer within 2 s",
        ),
    ],
)
def test_the_status_says_what_a_drain_waits_for_and_how_long(
    reports: list[RouterReport], reason: str, message: str
) -> None:
    going_on = drains([MARKED], reports, timeout_seconds=300, now_seconds=NOW.timestamp())
    told = pool_status(a_pool(replicas=0), router(), [MARKED], going_on, "r1", previous={}, now=NOW)
    found = next(c for c in told["conditions"] if c["type"] == "Draining")
    assert (found["status"], found["reason"], found["message"]) == ("True", reason, message)


def test_the_status_tells_engines_of_older_revisions_and_on_cordoned_nodes() -> None:
    told = status(engine(0), engine(1, revision="r0"), engine(2, cordoned=True), replicas=2)
    [found] = [c["message"] for c in told["conditions"] if c["type"] == "Progressing"]
    assert found == (
        "1 of 2 engines of revision r1 are ready; 1 of older revisions and 1 on cordoned nodes to be replaced"
    )


def test_a_pool_in_which_nothing_drains_says_so() -> None:
    assert condition(status(engine()), "Draining") == ("False", "NothingDrains")


def test_the_selector_finds_the_engine_pods() -> None:
    assert status()["selector"] == "fairlead.dev/pool=chat,fairlead.dev/component=engine"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = status(engine())
    later = NOW + timedelta(hours=1)
    second = pool_status(a_pool(), router(), [engine(ready=False)], [], "r1", previous=first, now=later)
    times = {c["type"]: c["lastTransitionTime"] for c in second["conditions"]}
    assert times["Ready"] == "2026-01-02T04:04:05Z"
    assert times["Degraded"] == "2026-01-02T03:04:05Z"


def test_an_unchanged_pool_has_an_unchanged_status() -> None:
    first = status(engine())
    later = NOW + timedelta(hours=1)
    assert pool_status(a_pool(), router(), [engine()], [], "r1", previous=first, now=later) == first


def test_an_invalid_spec_keeps_the_counts_and_says_what_is_wrong() -> None:
    told = invalid_status("spec.replicas: must be positive", 4, {"readyReplicas": 2}, NOW)
    assert told["readyReplicas"] == 2
    assert condition(told, "Degraded") == ("True", "InvalidSpec")
    assert condition(told, "Ready") == ("False", "InvalidSpec")
