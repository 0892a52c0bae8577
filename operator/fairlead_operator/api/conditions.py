"""Conditions and reasons of a pool's status: one enum feeds status, events, metrics and the documentation."""

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of the conditions in `status.conditions`."""

    READY = "Ready"
    """The pool serves: its router and at least one engine are ready."""
    PROGRESSING = "Progressing"
    """Something is still on its way to what the spec says."""
    DEGRADED = "Degraded"
    """Something is wrong that the operator cannot mend by waiting."""
    DRAINING = "Draining"
    """Engines get no new request and are deleted when nothing runs there any more."""


class ConditionReason(StrEnum):
    """Reasons of conditions; each belongs to the types and statuses that its line names."""

    SERVING = "Serving"
    """Ready=True: the router and at least one engine are ready."""
    NO_ENGINE_READY = "NoEngineReady"
    """Ready=False: no engine is ready, so no request can be served."""
    ROUTER_NOT_READY = "RouterNotReady"
    """Ready=False: no router pod is available."""
    SCALED_TO_ZERO = "ScaledToZero"
    """Ready=False: the spec asks for no engine."""
    AS_DECLARED = "AsDeclared"
    """Progressing=False: every child is as the spec says and every engine is ready."""
    STARTING_ENGINES = "StartingEngines"
    """Progressing=True: engines are being created or are not ready yet."""
    REPLACING_ENGINES = "ReplacingEngines"
    """Progressing=True: engines of an older revision, or on cordoned nodes, are being replaced."""
    STOPPING_ENGINES = "StoppingEngines"
    """Progressing=True: engines are being removed."""
    ROLLING_OUT_ROUTER = "RollingOutRouter"
    """Progressing=True: the router's Deployment is not as declared yet."""
    NOTHING_DRAINS = "NothingDrains"
    """Draining=False: no engine drains."""
    WAITING_FOR_REQUESTS = "WaitingForRequests"
    """Draining=True: requests run on engines that drain; the message counts them and says how long they have."""
    WAITING_FOR_ROUTERS = "WaitingForRouters"
    """Draining=True: a router does not know of the drain yet or cannot be asked, so what it has in flight is not known."""
    PAUSED = "Paused"
    """Progressing=False: `spec.paused` is true; the message says what is left to do."""
    HEALTHY = "Healthy"
    """Degraded=False: nothing is known to be wrong."""
    ENGINE_FAILING = "EngineFailing"
    """Degraded=True: an engine's container cannot start or keeps crashing; the message says why."""
    ROUTER_FAILING = "RouterFailing"
    """Degraded=True: the router's Deployment reports that it does not progress."""
    NAME_CONFLICT = "NameConflict"
    """Degraded=True: a child's name is taken by an object that this pool does not own."""
    INVALID_SPEC = "InvalidSpec"
    """Ready=False, Progressing=False, Degraded=True, Draining=False: the spec breaks a rule that the API server did not know."""
    API_REFUSED = "ApiRefused"
    """Degraded=True: the API server refused a child, for example by quota or admission; the message says why."""


class EventReason(StrEnum):
    """Reasons of the Events that the operator posts on a pool."""

    ENGINE_CREATED = "EngineCreated"
    ENGINE_DRAINING = "EngineDraining"
    ENGINE_REMOVED = "EngineRemoved"
    DRAIN_TIMED_OUT = "DrainTimedOut"
    CHILD_REPAIRED = "ChildRepaired"
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    API_REFUSED = "ApiRefused"


class Phase(StrEnum):
    """One word for people: `status.phase`."""

    PENDING = "Pending"
    """Nothing serves yet."""
    READY = "Ready"
    """Everything is as declared."""
    PROGRESSING = "Progressing"
    """It serves and something is on its way."""
    DEGRADED = "Degraded"
    """Something is wrong; see the condition of that name."""
    PAUSED = "Paused"
    """Nothing is created, changed or deleted, because the spec says so."""
    STOPPED = "Stopped"
    """Scaled to zero."""
