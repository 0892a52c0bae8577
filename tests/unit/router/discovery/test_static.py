"""Static endpoints and a configuration file that changes."""

import asyncio
import contextlib
from pathlib import Path
from random import Random

import pytest

from fairlead_router.config import RouterConfig, StaticEndpoint
from fairlead_router.deadlines import Deadlines
from fairlead_router.discovery import probe as probe_module
from fairlead_router.discovery.static import StaticDiscovery
from fairlead_router.files import follow_file
from fairlead_router.router import Router
from fairlead_router.upstream.pool import Pool


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr(probe_module, "READY_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(probe_module, "NOT_READY_INTERVAL_SECONDS", 0.02)


@contextlib.asynccontextmanager
async def discovering(router, path: Path | None = None):
    async with contextlib.aclosing(Pool(asyncio.get_running_loop(), Deadlines())) as pool, asyncio.TaskGroup() as tasks:
        discovery = StaticDiscovery(router, pool, tasks)

        def use(text: str) -> None:
            config = RouterConfig.from_yaml(text)
            router.apply(config)
            discovery.follow(config.endpoints)

        following = tasks.create_task(follow_file(path, use, router.refuse_config)) if path else None
        yield discovery
        discovery.close()
        if following:
            following.cancel()


def states(router):
    return {view.uid: str(view.state) for view in router.endpoints()}


async def test_an_endpoint_is_ready_while_its_engine_is_healthy(engine, kit):
    answer = [kit.whole(b"")]

    async def script(connection):
        await connection.send(answer[0])

    scripted = await engine(script)
    router = Router(RouterConfig(), random=Random(0))
    async with discovering(router) as discovery:
        discovery.follow((StaticEndpoint(uid="e", address=scripted.address),))
        assert states(router) == {"e": "not_ready"}
        assert not router.discovered, "an endpoint that was not asked yet is not known"
        await kit.until(lambda: states(router) == {"e": "ready"}, "ready")
        assert router.discovered
        answer[0] = kit.whole(b"", "503 Service Unavailable")
        await kit.until(lambda: states(router) == {"e": "not_ready"}, "not ready")


async def test_a_draining_endpoint_is_draining_whatever_its_health(engine, kit):
    scripted = await engine(kit.answers(kit.whole(b"")))
    router = Router(RouterConfig())
    async with discovering(router) as discovery:
        endpoint = StaticEndpoint(uid="e", address=scripted.address)
        discovery.follow((endpoint,))
        await kit.until(lambda: states(router) == {"e": "ready"}, "ready")
        discovery.follow((endpoint.model_copy(update={"draining": True}),))
        assert states(router) == {"e": "draining"}
        discovery.follow((endpoint,))
        assert states(router) == {"e": "ready"}, "its health is still known"


async def test_an_engine_that_moved_is_asked_at_its_new_address(engine, kit):
    first, second = [await engine(kit.answers(kit.whole(b""))) for _ in range(2)]
    router = Router(RouterConfig())
    async with discovering(router) as discovery:
        discovery.follow((StaticEndpoint(uid="e", address=first.address),))
        await kit.until(lambda: states(router) == {"e": "ready"}, "ready")
        discovery.follow((StaticEndpoint(uid="e", address=second.address),))
        assert states(router) == {"e": "not_ready"}
        await kit.until(lambda: states(router) == {"e": "ready"}, "ready again")
        discovery.follow(())
        assert states(router) == {}


def config_text(*addresses: str) -> str:
    return RouterConfig(endpoints=tuple(StaticEndpoint(uid=a, address=a) for a in addresses)).to_yaml()


async def test_a_changed_file_takes_effect_and_a_broken_one_changes_nothing(engine, kit, tmp_path, caplog):
    first, second = [await engine(kit.answers(kit.whole(b""))) for _ in range(2)]
    path = tmp_path / "router.yaml"
    path.write_text(config_text(first.address))
    router = Router(RouterConfig())

    def errors():
        return router.telemetry.registry.get_sample_value("fairlead_router_config_errors_total", {"pool": "local"})

    async with discovering(router, path):
        await kit.until(lambda: states(router) == {first.address: "ready"}, "the first configuration")

        path.write_text(config_text(first.address) + "policy: fastest\n")
        await kit.until(lambda: errors() == 1, "the broken file is counted")
        assert states(router) == {first.address: "ready"}
        assert "policy" in caplog.text

        replacement = tmp_path / "router.yaml.new"
        replacement.write_text(config_text(second.address))
        replacement.rename(path)
        await kit.until(lambda: states(router) == {second.address: "ready"}, "the replaced file")

        path.unlink()
        await kit.until(lambda: errors() >= 2, "the missing file is counted")
        assert states(router) == {second.address: "ready"}
