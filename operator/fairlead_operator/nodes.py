"""Nodes that are cordoned: whoever empties a node cordons it first, and engines there are replaced before they go."""

import asyncio
import logging

from fairlead_operator.errors import RefusedError, UnavailableError
from fairlead_operator.kube.api import NODES, Api
from fairlead_operator.store import Store
from fairlead_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""A list of the cordoned nodes alone costs less than a watch of all: kubelets change their nodes all the time."""


async def see_cordons(api: Api, store: Store, queue: WorkQueue) -> None:
    """Look which nodes are cordoned, until it is known, and wake the pools with engines on those that were or are."""
    while True:
        try:
            nodes = await api.list_all(NODES, None, fields="spec.unschedulable=true")
        except UnavailableError as error:
            logger.warning("cordoned nodes cannot be listed, what is known of them stays: %s", error)
            await asyncio.sleep(LOOK_SECONDS)
            continue
        except RefusedError as error:
            logger.warning("no engine is replaced before its node is drained: %s", error)
            names = None
        else:
            names = frozenset(node["metadata"]["name"] for node in nodes)
        for key in store.cordon(names):
            queue.wake(key)
        return


async def follow_cordons(api: Api, store: Store, queue: WorkQueue) -> None:
    """Look again and again, for ever."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        await see_cordons(api, store, queue)
