"""One reconcile against a real API server that does not hold what the store says."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from control_plane import Cluster
from pools import IMAGES

from fairlead_operator.api.pool import API_VERSION, KIND
from fairlead_operator.contract import Metric
from fairlead_operator.kube.api import Api
from fairlead_operator.kube.connect import connect
from fairlead_operator.kube.events import Events
from fairlead_operator.metrics import Metrics
from fairlead_operator.reconcile import Reconciler
from fairlead_operator.routers import Routers
from fairlead_operator.store import Store
from fairlead_operator.types import Key
from fairlead_operator.work_queue import Again


def manifest(namespace: str, **spec: Any) -> dict[str, Any]:
    """A pool that only the store knows."""
    about = {"name": "chat", "namespace": namespace, "uid": "gone", "resourceVersion": "1", "generation": 1}
    content = {"model": {"name": "mock"}, "engine": {"type": "mock"}, **spec}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": about, "spec": content}


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    async with await connect(cluster.kubeconfig) as client:
        yield Api(client)


async def reconciled(api: Api, store: Store, key: Key) -> tuple[Again | None, dict[str, float]]:
    """When it is tried again, and the results counted."""
    metrics = Metrics()
    async with aiohttp.ClientSession() as session:
        reconciler = Reconciler(store, api, Routers(api, session), Events(api, "test"), metrics, IMAGES)
        again = await reconciler.reconcile(key)
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    results = {s.labels["result"]: s.value for s in samples if s.name == f"{Metric.RECONCILES}_total"}
    return again, results


async def test_a_pool_deleted_under_the_plan_ends_the_reconcile_quietly(api: Api, namespace: str) -> None:
    store = Store()
    store.put(manifest(namespace))
    assert await reconciled(api, store, Key(namespace, "chat")) == (None, {"gone": 1.0})


async def test_a_pool_that_is_not_known_needs_nothing(api: Api, namespace: str) -> None:
    assert await reconciled(api, Store(), Key(namespace, "chat")) == (None, {"gone": 1.0})


async def test_a_fault_in_one_reconcile_is_counted_and_tried_again(api: Api, namespace: str) -> None:
    store = Store()
    broken = manifest(namespace)
    del broken["metadata"]["generation"]
    store.put(broken)
    again, results = await reconciled(api, store, Key(namespace, "chat"))
    assert results == {"failed": 1.0}
    assert again
    assert again.failed
