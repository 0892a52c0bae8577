"""Follow objects of the API server: list once, watch, go on after every cut.

A router outlives its API server: while that is away, the last view stays in use, which is visible in the log and in
the metric `discovery_connected`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import GoneError

from fairlead_router.config import RouterConfig
from fairlead_router.contract import CONFIG_KEY, Component, Label
from fairlead_router.discovery.backoff import Backoff
from fairlead_router.discovery.pods import Object, ResourceExpiredError, Table, endpoints_of
from fairlead_router.router import Router

__all__ = ["ConfigException", "KubernetesDiscovery", "Watched", "Watcher", "load_configuration"]

logger = logging.getLogger(__name__)

WATCH_SECONDS = 60
"""The API server ends a watch after this; the next one goes on where it ended."""
SILENCE_SECONDS = 75.0
"""A watch that outlives its own end by this much hangs in a connection that is dead."""
SHORT_SECONDS = 1.0
"""A watch that ends sooner than this is not begun anew at once: something between cuts connections."""
LIST_SECONDS = 30.0

_AWAY = (aiohttp.ClientError, OSError, TimeoutError, client.ApiException, ValueError, KeyError)
"""What an API server that is away, restarting or talking nonsense shows itself as."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A set of core objects to follow: a kind in a namespace, and what narrows it down."""

    what: str
    plural: str
    namespace: str
    selector: dict[str, str]

    @property
    def path(self) -> str:
        """URL path of the collection."""
        return f"/api/v1/namespaces/{self.namespace}/{self.plural}"


class Watcher:
    """Keeps a `Table` in step with the API server and reports every change."""

    def __init__(
        self,
        api: DynamicClient,
        watched: Watched,
        changed: Callable[[Iterable[Object]], None],
        connected: Callable[[str, bool], None],
        random: Random,
    ) -> None:
        self._api = api
        self._watched = watched
        self._changed = changed
        self._connected = connected
        self._table = Table()
        self._backoff = Backoff(random)
        self._away = False

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow()
                if asyncio.get_running_loop().time() - began < SHORT_SECONDS:
                    await asyncio.sleep(SHORT_SECONDS)
            except ResourceExpiredError as error:
                self._table.expire()
                logger.info("watch of %s is too old, listing again: %s", self._watched.what, error)
            except _AWAY as error:
                await self._wait(error)

    async def _follow(self) -> None:
        """List if needed, then watch until the watch ends."""
        if not self._table.resource_version:
            async with asyncio.timeout(LIST_SECONDS):
                response = await self._call()
                self._table.replace(json.loads(await response.read()))
            self._changed(self._table.objects.values())
        await self._watch()

    async def _watch(self) -> None:
        response = await self._call(
            watch="true",
            resource_version=self._table.resource_version,
            query_params=[("allowWatchBookmarks", "true")],
            timeout_seconds=WATCH_SECONDS,
        )
        try:
            self._heard()
            async with asyncio.timeout(SILENCE_SECONDS):
                async for line in _lines(response.content):
                    if self._table.apply(json.loads(line)):
                        self._changed(self._table.objects.values())
        finally:
            response.close()

    async def _call(self, **how: Any) -> aiohttp.ClientResponse:
        """Ask for the collection; raw paths, for the typed API methods cost 130 MB of generated models."""
        watched = self._watched
        try:
            async with asyncio.timeout(LIST_SECONDS):
                response: aiohttp.ClientResponse = await self._api.request(
                    "get", watched.path, serialize=False, **watched.selector, **how
                )
        except GoneError as error:
            raise ResourceExpiredError(str(error.reason or "gone")) from error
        except client.ApiException as error:
            raise client.ApiException(
                status=error.status, reason=f"{error.reason}: {error.body or ''}"[:300]
            ) from error
        return response

    def _heard(self) -> None:
        self._backoff.succeeded()
        if self._away:
            self._away = False
            logger.warning("the API server answers for %s again", self._watched.what)
        self._connected(self._watched.what, True)

    async def _wait(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            logger.warning("no view of %s, going on with the last one: %s", self._watched.what, _named(error))
        self._connected(self._watched.what, False)
        await asyncio.sleep(self._backoff.failed())


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a watch into its events; unlike `readline`, for events of any size."""
    tail = b""
    while data := await content.readany():
        *lines, tail = (tail + data).split(b"\n")
        for line in lines:
            yield line
    if tail:
        raise aiohttp.ClientPayloadError("the watch ended inside an event")


class KubernetesDiscovery:
    """Shows the pods of one pool, and the configuration that the operator renders for it, to the router."""

    def __init__(
        self, router: Router, pool: str, namespace: str, use: Callable[[RouterConfig], None], random: Random
    ) -> None:
        self._router = router
        self._pool = pool
        self._namespace = namespace
        self._use = use
        self._random = random
        self._connected: dict[str, bool] = {}

    async def run(self, configuration: client.Configuration) -> None:
        """Follow for ever."""
        async with client.ApiClient(configuration) as api:
            core = DynamicClient(api)
            pods = Watched(
                f"the pods of pool {self._pool}",
                "pods",
                self._namespace,
                {"label_selector": f"{Label.POOL}={self._pool},{Label.COMPONENT}={Component.ENGINE}"},
            )
            config_map = Watched(
                f"ConfigMap {self._pool}-router",
                "configmaps",
                self._namespace,
                {"field_selector": f"metadata.name={self._pool}-router"},
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Watcher(core, pods, self._see_pods, self._note, self._random).run())
                tasks.create_task(Watcher(core, config_map, self._see_config, self._note, self._random).run())

    def _see_pods(self, pods: Iterable[Object]) -> None:
        self._router.set_endpoints(endpoints_of(pods))

    def _see_config(self, config_maps: Iterable[Object]) -> None:
        """Use what the ConfigMap says; one that is deleted or broken changes nothing."""
        for config_map in config_maps:
            source = f"ConfigMap {config_map['metadata']['name']}"
            text = (config_map.get("data") or {}).get(CONFIG_KEY)
            try:
                if text is None:
                    raise ValueError(f"the key {CONFIG_KEY} is missing")  # noqa: TRY301
                self._use(RouterConfig.from_yaml(text))
            except ValueError as error:
                self._router.refuse_config(source, error)

    def _note(self, what: str, connected: bool) -> None:
        self._connected[what] = connected
        self._router.telemetry.discovery_connected = all(self._connected.values())


async def load_configuration(kubeconfig: Path | None) -> client.Configuration:
    """Return how to reach the API server: `kubeconfig` if given, else in-cluster, else the user's kubeconfig.

    Raises
    ------
    ConfigException
        There is no way.

    """
    configuration = client.Configuration()
    if kubeconfig is None:
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException:
            await load_kube_config(client_configuration=configuration)
    else:
        await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return configuration
