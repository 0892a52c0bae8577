"""Pools and objects for tests of plans."""

from typing import Any

from fairlead_operator.api.pool import Pool, parse_spec
from fairlead_operator.types import Images

IMAGES = Images(engine="fairlead-engine:test", router="fairlead-router:test")


def a_pool(**spec: Any) -> Pool:
    """A pool `chat` of one mock engine, with other fields of the spec where given."""
    content = {"model": {"name": "mock"}, "engine": {"type": "mock"}, **spec}
    return Pool(name="chat", namespace="prod", uid="uid-1", generation=3, spec=parse_spec(content))


def as_stored(manifest: dict[str, Any], *, uid: str = "uid-2", version: int = 1, **status: Any) -> dict[str, Any]:
    """The manifest as an API server would give it back."""
    about = {
        **manifest["metadata"],
        "uid": uid,
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {**manifest, "metadata": about, "status": status}
