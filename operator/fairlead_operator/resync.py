"""The safety net under events: everything is listed anew at intervals, and every pool is looked at again."""

import asyncio
import logging
import time
from random import Random

from fairlead_operator.errors import ApiError
from fairlead_operator.kube.api import CHILDREN, POOLS, Api
from fairlead_operator.metrics import Metrics
from fairlead_operator.plan.metadata import MANAGED_BY
from fairlead_operator.store import Store
from fairlead_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)

OWNED = f"app.kubernetes.io/managed-by={MANAGED_BY}"


async def resync_for_ever(
    api: Api,
    store: Store,
    queue: WorkQueue,
    metrics: Metrics,
    *,
    namespaces: tuple[str, ...],
    interval_seconds: float,
    random: Random,
) -> None:
    """Resync at intervals that vary by a fifth, so that operators do not list in step."""
    while True:
        await asyncio.sleep(interval_seconds * (0.9 + 0.2 * random.random()))
        try:
            await resync(api, store, namespaces)
        except ApiError as error:
            logger.warning("resync failed, what is known stays as it is: %s", error)
            continue
        logger.debug("resynced")
        metrics.last_resync.set(time.time())
        for key in store.pool_keys():
            queue.wake(key)


async def resync(api: Api, store: Store, namespaces: tuple[str, ...]) -> None:
    """Replace what the store knows by what the API server holds."""
    for resource in (POOLS, *CHILDREN):
        labels = None if resource is POOLS else OWNED
        listed = [
            item for namespace in namespaces or (None,) for item in await api.list_all(resource, namespace, labels)
        ]
        store.replace(resource.kind, listed)
