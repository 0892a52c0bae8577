"""Which nodes are cordoned, and who is told."""

from random import Random
from typing import Any

import pytest
from pools import IMAGES, a_pool, as_stored

from fairlead_operator.errors import RefusedError
from fairlead_operator.kube.api import NODES, Resource
from fairlead_operator.nodes import see_cordons
from fairlead_operator.plan.engine_pod import engine_pod
from fairlead_operator.store import Store
from fairlead_operator.work_queue import WorkQueue


class Api:
    """An API server that knows some cordoned nodes, or does not let the operator look at any."""

    def __init__(self, *cordoned: str, refuses: bool = False) -> None:
        self.cordoned, self.refuses = cordoned, refuses

    async def list_all(self, resource: Resource, namespace: str | None, *, fields: str) -> list[dict[str, Any]]:
        assert (resource, namespace, fields) == (NODES, None, "spec.unschedulable=true")
        if self.refuses:
            raise RefusedError("nodes is forbidden")
        return [{"metadata": {"name": name}} for name in self.cordoned]


@pytest.fixture
def store() -> Store:
    """A pool with an engine on node a."""
    known = Store()
    pod = as_stored(engine_pod(a_pool(), "chat-engine-0", IMAGES))
    known.put({**pod, "spec": {**pod["spec"], "nodeName": "a"}})
    return known


async def woken(store: Store, api: Api) -> int:
    """How many pools are to be looked at after a look at the nodes."""
    queue = WorkQueue(Random(1))
    await see_cordons(api, store, queue)  # type: ignore[arg-type] # a stand-in
    return len(queue)


async def test_a_pool_is_looked_at_when_a_node_of_its_engines_is_cordoned_or_uncordoned(store: Store) -> None:
    assert await woken(store, Api("a", "b")) == 1
    assert store.observed(a_pool()).cordoned == {"a", "b"}
    assert await woken(store, Api("a")) == 0
    assert await woken(store, Api()) == 1
    assert store.observed(a_pool()).cordoned == set()


async def test_an_operator_that_may_not_look_at_nodes_knows_of_none(store: Store) -> None:
    assert await woken(store, Api("a")) == 1
    await woken(store, Api(refuses=True))
    assert store.observed(a_pool()).cordoned is None
