"""Following an API server that restarts, forgets and breaks off. Its stand-in speaks lists and watches over HTTP."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from random import Random

import pytest
from aiohttp import web
from kubernetes.aio import client

from fairlead_router.config import RouterConfig
from fairlead_router.discovery import kubernetes as kubernetes_module
from fairlead_router.discovery.kubernetes import KubernetesDiscovery
from fairlead_router.router import Router


class ApiServer:
    """Holds one kind of objects per path; keeps a log of events for watches."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict]] = {"pods": {}, "configmaps": {}}
        self.events: dict[str, list[dict]] = {"pods": [], "configmaps": []}
        self.version = 100
        self.lists = 0
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.failing = False
        self.expired_before = 0
        self._changed = asyncio.Condition()
        self._cuts = 0

    async def put(self, kind: str, item: dict, event: str | None = None) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        uid = item["metadata"]["uid"]
        event = event or ("MODIFIED" if uid in self.objects[kind] else "ADDED")
        self.objects[kind][uid] = item
        if event == "DELETED":
            del self.objects[kind][uid]
        self.events[kind].append({"type": event, "object": json.loads(json.dumps(item))})
        async with self._changed:
            self._changed.notify_all()

    async def cut_watches(self) -> None:
        self._cuts += 1
        async with self._changed:
            self._changed.notify_all()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        self.queries.append((kind, dict(request.query)))
        if self.failing:
            return web.json_response({"kind": "Status", "code": 503}, status=503)
        if request.query.get("watch"):
            return await self._watch(request, kind)
        self.lists += 1
        items = list(self.objects[kind].values())
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        seen = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if seen < self.expired_before:
            status = {"code": 410, "message": "too old resource version", "reason": "Expired"}
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            return response
        cuts = self._cuts
        while cuts == self._cuts:
            for event in self.events[kind]:
                version = int(event["object"]["metadata"]["resourceVersion"])
                if version > seen:
                    seen = version
                    data = json.dumps(event).encode() + b"\n"
                    await response.write(data[:20])
                    await response.write(data[20:])
            async with self._changed:
                await self._changed.wait()
        request.transport.abort()
        return response


@pytest.fixture
async def api():
    server = ApiServer()
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/default/{kind}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(kubernetes_module, "SHORT_SECONDS", 0.01)
    monkeypatch.setattr("fairlead_router.discovery.backoff.FIRST_SECONDS", 0.02)
    monkeypatch.setattr("fairlead_router.discovery.backoff.LONGEST_SECONDS", 0.05)


@contextlib.asynccontextmanager
async def following(api: ApiServer, router: Router):
    configuration = client.Configuration(host=api.url)
    use: Callable[[RouterConfig], None] = router.apply
    task = asyncio.create_task(KubernetesDiscovery(router, "chat", "default", use, Random(0)).run(configuration))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def pod(uid: str, *, ready: bool = True, **metadata: object) -> dict:
    return {
        "metadata": {"uid": uid, "name": uid, **metadata},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def config_map(text: str | None) -> dict:
    data = {} if text is None else {"config.yaml": text}
    return {"metadata": {"uid": "cm", "name": "chat-router"}, "data": data}


def states(router: Router) -> dict[str, str]:
    return {view.uid: str(view.state) for view in router.endpoints()}


def connected(router: Router) -> bool:
    return router.telemetry.registry.get_sample_value("fairlead_router_discovery_connected", {"pool": "chat"}) == 1


@pytest.fixture
def router() -> Router:
    return Router(RouterConfig(pool="chat"))


async def test_pods_and_their_changes_become_endpoints(api, router, kit):
    await api.put("pods", pod("a"))
    async with following(api, router):
        await kit.until(lambda: states(router) == {"a": "ready"}, "listed")
        await api.put("pods", pod("b", ready=False))
        await kit.until(lambda: states(router) == {"a": "ready", "b": "not_ready"}, "added")
        await api.put("pods", pod("a", annotations={"fairlead.dev/draining": "now"}))
        await kit.until(lambda: states(router) == {"a": "draining", "b": "not_ready"}, "modified")
        await api.put("pods", pod("a"), "DELETED")
        await kit.until(lambda: states(router) == {"b": "not_ready"}, "deleted")
    selector = "fairlead.dev/pool=chat,fairlead.dev/component=engine"
    assert {q["labelSelector"] for kind, q in api.queries if kind == "pods"} == {selector}
    assert {q["fieldSelector"] for kind, q in api.queries if kind == "configmaps"} == {"metadata.name=chat-router"}


async def test_the_config_map_is_followed_and_a_broken_one_changes_nothing(api, router, kit, caplog):
    async with following(api, router):
        await kit.until(lambda: router.discovered, "an empty pool is discovered too")
        assert router.not_ready_because() == ["configuration not loaded"]
        await api.put("configmaps", config_map(RouterConfig(pool="chat", models=("m",)).to_yaml()))
        await kit.until(lambda: router.config.models == ("m",), "configured")
        assert router.not_ready_because() == []
        for broken in ("policy: fastest", ": not yaml: :", None):
            await api.put("configmaps", config_map(broken))
        await kit.until(lambda: "the key config.yaml is missing" in caplog.text, "refused")
        assert "policy" in caplog.text
        await api.put("configmaps", config_map(None), "DELETED")
        await api.put("configmaps", config_map(RouterConfig(pool="chat", models=("n",)).to_yaml()))
        await kit.until(lambda: router.config.models == ("n",), "configured again")


async def test_a_cut_watch_goes_on_where_it_was_without_a_list(api, router, kit):
    await api.put("pods", pod("a"))
    async with following(api, router):
        await kit.until(lambda: states(router) == {"a": "ready"}, "listed")
        await kit.until(lambda: len(api.queries) == 4, "both watched")
        lists = api.lists
        await api.cut_watches()
        await api.put("pods", pod("b"))
        await kit.until(lambda: set(states(router)) == {"a", "b"}, "resumed")
        assert api.lists == lists


async def test_an_expired_watch_lists_again(api, router, kit):
    await api.put("pods", pod("a"))
    async with following(api, router):
        await kit.until(lambda: states(router) == {"a": "ready"}, "listed")
        await kit.until(lambda: len(api.queries) == 4, "both watched")
        await api.put("pods", pod("a"), "DELETED")
        await kit.until(lambda: states(router) == {}, "deleted")
        api.version += 10
        api.expired_before = api.version
        api.objects["pods"]["c"] = {**pod("c"), "metadata": {"uid": "c", "name": "c", "resourceVersion": "111"}}
        await api.cut_watches()
        await kit.until(lambda: states(router) == {"c": "ready"}, "listed again")


async def test_while_the_api_server_is_away_the_last_view_stays_and_it_shows(api, router, kit, caplog):
    await api.put("pods", pod("a"))
    async with following(api, router):
        await kit.until(lambda: states(router) == {"a": "ready"} and connected(router), "listed")
        api.failing = True
        await api.cut_watches()
        await kit.until(lambda: not connected(router), "away")
        assert states(router) == {"a": "ready"}
        assert "going on with the last one" in caplog.text
        await api.put("pods", pod("b"))
        api.failing = False
        await kit.until(lambda: set(states(router)) == {"a", "b"} and connected(router), "back")
        assert "answers for the pods of pool chat again" in caplog.text
