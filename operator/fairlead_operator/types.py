"""The words of the operator's plans."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    terminating: bool = False
    ended: bool = False
    """It ran and will not run again; only a new one helps."""
    trouble: str = ""
    """Why it cannot start or keeps crashing, in the runtime's words; empty while nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class Removal:
    """An engine to be removed, and why."""

    engine: Engine
    why: str


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """Engines to create and to remove; empty when they are as declared."""

    create: tuple[str, ...] = ()
    remove: tuple[Removal, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """Default images, by the operator's own settings."""

    engine: str
    router: str
    pull_policy: str = "IfNotPresent"
