"""The operator, put together: lease, kopf, workers, resync, probes."""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import uuid4

import aiohttp
import kopf

from fairlead_operator import handlers
from fairlead_operator.contract import HEALTH_PORT, LEASE
from fairlead_operator.health import Health, served
from fairlead_operator.kube.api import Api
from fairlead_operator.kube.connect import connect
from fairlead_operator.kube.events import Events
from fairlead_operator.kube.lease import Lease
from fairlead_operator.metrics import Metrics
from fairlead_operator.nodes import follow_cordons, see_cordons
from fairlead_operator.reconcile import Reconciler
from fairlead_operator.resync import resync_for_ever
from fairlead_operator.routers import Routers
from fairlead_operator.store import Store
from fairlead_operator.types import Images
from fairlead_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How an operator runs."""

    images: Images
    namespaces: tuple[str, ...] = ()
    """Namespaces to care for; none means all."""
    kubeconfig: Path | None = None
    lease_namespace: str | None = None
    """Namespace of the Lease; None runs without leader election."""
    health_port: int = HEALTH_PORT
    resync_seconds: float = 120.0
    workers: int = 8
    identity: str = field(default_factory=lambda: f"{socket.gethostname()}-{uuid4().hex[:6]}")


async def run(settings: Settings) -> None:
    """Run until SIGTERM, SIGINT or the loss of the lease.

    Raises
    ------
    LeaseLostError
        Another operator may be active: the process must end.
    OSError
        The health port is taken.

    """
    if settings.kubeconfig is not None:
        os.environ["KUBECONFIG"] = str(settings.kubeconfig)  # kopf has no other way to be told
    metrics, health = Metrics(), Health()
    client = await connect(settings.kubeconfig)
    async with client, aiohttp.ClientSession() as session, served(health, metrics.registry, settings.health_port):
        api = Api(client)

        async def lead() -> None:
            await _lead(settings, api, Routers(api, session), metrics, health)

        health.ready = True  # standing by for the lease is a healthy state, and a Deployment's rollout waits for it
        if settings.lease_namespace is None:
            await lead()
        else:
            await Lease(client, settings.lease_namespace, LEASE, settings.identity).hold(lead)


async def _lead(settings: Settings, api: Api, routers: Routers, metrics: Metrics, health: Health) -> None:
    """Act on pools until kopf is told to stop."""
    random = Random()  # noqa: S311 - jitter, not secrets
    sees_nodes = not settings.namespaces  # with a Role in some namespaces it may not: nodes are in none
    store, queue = Store(), WorkQueue(random)
    reconciler = Reconciler(store, api, routers, Events(api, settings.identity), metrics, settings.images)
    metrics.queue_depth.set_function(lambda: len(queue))
    metrics.pools.set_function(lambda: len(store))
    metrics.leader.set(1)
    if sees_nodes:  # before the first plan: a replacement that is on its way must not look like one too many
        await see_cordons(api, store, queue)
    async with asyncio.TaskGroup() as tasks:
        helpers = [
            tasks.create_task(_turn(health)),
            tasks.create_task(
                resync_for_ever(
                    api,
                    store,
                    queue,
                    metrics,
                    namespaces=settings.namespaces,
                    interval_seconds=settings.resync_seconds,
                    random=random,
                )
            ),
            *([tasks.create_task(follow_cordons(api, store, queue))] if sees_nodes else []),
            *(tasks.create_task(queue.work(reconciler.reconcile)) for _ in range(settings.workers)),
        ]
        try:
            await kopf.operator(
                registry=handlers.registry(store, queue),
                settings=handlers.settings(),
                standalone=True,
                identity=settings.identity,  # type: ignore[arg-type] # a NewType of str that kopf does not export
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
            )
        finally:
            metrics.leader.set(0)
            for helper in helpers:
                helper.cancel()


async def _turn(health: Health) -> None:
    while True:
        health.turn()
        await asyncio.sleep(1)
