"""The words of the operator's plans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Manifest = Mapping[str, Any]
"""A Kubernetes object as the API server gives it."""


class Key(NamedTuple):
    """Identity of a pool in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ChildKey(NamedTuple):
    """Identity of a child inside its pool's namespace."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that exists: a pod in Kubernetes, a process locally."""

    name: str
    uid: str
    revision: str
    created_seconds: float
    ready: bool = False
    addressed: bool = True
    """It has an address, so that routers may have sent it requests."""
    cordoned: bool = False
    """Its node takes no new pods: somebody is about to empty it."""
    draining_since_seconds: float | None = None
    """Time of its mark as draining, `inf` where the mark is no time; None while it has none."""
    terminating: bool = False
    ended: bool = False
    """It ran and will not run again; only a new one helps."""
    trouble: str = ""
    """Why it cannot start or keeps crashing, in the runtime's words; empty while nothing is known to be wrong."""

    @property
    def draining(self) -> bool:
        """Tell whether it is marked: routers send it nothing new, and it is to go."""
        return self.draining_since_seconds is not None


@dataclass(frozen=True, slots=True)
class Placed:
    """What one router says of one engine."""

    draining: bool
    """The router knows of the mark: it sends nothing new."""
    in_flight: int


@dataclass(frozen=True, slots=True)
class RouterReport:
    """What one router says of the engines that it knows, by uid."""

    router: str
    engines: Mapping[str, Placed] = field(default_factory=dict)
    trouble: str = ""
    """Why it could not be asked; then what it has in flight is not known."""


@dataclass(frozen=True, slots=True)
class Removal:
    """An engine to be marked as draining or to be deleted, and why."""

    engine: Engine
    why: str
    cuts: bool = False
    """Requests run there, or may: they are cut if they outlast the engine's own shutdown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The engines that the spec asks for, and how others may be replaced by them."""

    replicas: int
    revision: str
    surge: int
    """Engines beyond `replicas` while others are replaced."""
    unavailable: int
    """Engines below `replicas` that need not serve meanwhile."""


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """Engines to create, to drain and to delete at once; empty when they are as declared."""

    create: tuple[str, ...] = ()
    drain: tuple[Removal, ...] = ()
    remove: tuple[Removal, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """Default images, by the operator's own settings."""

    engine: str
    router: str
    pull_policy: str = "IfNotPresent"
