"""Engines fall silent about themselves, and go on answering: nothing is lost, less of their memory is given away, and it shows."""

import asyncio
import json

import pytest

from fairlead_router.config import RouterConfig
from fairlead_router.contract import EndpointState
from fairlead_router.decisions import ledger
from fairlead_router.decisions.types import EndpointView
from fairlead_router.discovery import engine_telemetry
from fairlead_router.discovery.engine_telemetry import follow_engines

KV_TOKENS = 1000
METRICS = b'vllm:kv_cache_usage_perc 0.0\nvllm:cache_config_info{block_size="10",num_gpu_blocks="100"} 1\n'
CLIENTS = 8


class Engines:
    """Engines that say what they hold until they are cut off; their streams take a turn of the test's loop."""

    def __init__(self, kit: type) -> None:
        self._kit = kit
        self.cut: str | None = None
        """How: with a status, or `hangs`."""
        self.asked = 0

    def script(self, engine_of):
        async def script(connection) -> None:
            if not engine_of().requests[-1].line.startswith("GET "):
                await self._kit.streams(self._kit.token(), self._kit.token(), self._kit.DONE)(connection)
                return
            self.asked += 1
            if self.cut == "hangs":
                await connection.hang()
            else:
                await connection.send(self._kit.whole(METRICS, self.cut or "200 OK"))

        return script


@pytest.fixture
def quick(monkeypatch):
    """Look often, and believe what was said not for long."""
    monkeypatch.setattr(engine_telemetry, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(engine_telemetry, "ANSWER_SECONDS", 0.02)
    monkeypatch.setattr(ledger, "FRESH_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["503 Service Unavailable", "hangs"])
async def test_cutting_telemetry_shows_and_loses_no_request(router, engine, kit, how):
    engines = Engines(kit)
    started = []
    for index in range(2):
        started.append(await engine(engines.script(lambda index=index: started[index])))
    running = await router(config=RouterConfig(policy="rad"))
    running.router.set_endpoints(
        EndpointView(each.address, each.address, EndpointState.READY, each.address) for each in started
    )
    following = asyncio.create_task(follow_engines(running.router, running.relay.pool))
    statuses: list[int] = []

    async def ask_again_and_again() -> None:
        while not following.done():
            status, body, _ = await running.asked()
            statuses.append(status if body.endswith(b"data: [DONE]\n\n") else 0)

    async def telemetry() -> set[str]:
        async with running.session.get(running.admin_url + "/admin/v1/endpoints") as answer:
            return {each["telemetry"] for each in json.loads(await answer.read())}

    def shown(state: str) -> float:
        samples = (
            running.sample("fairlead_router_endpoint_telemetry", endpoint=each.address, state=state) for each in started
        )
        return sum(sample or 0.0 for sample in samples)

    clients = [asyncio.create_task(ask_again_and_again()) for _ in range(CLIENTS)]
    await kit.until(lambda: shown("fresh") == 2, "the router knows what the engines say")
    assert await telemetry() == {"fresh"}
    engines.cut = how
    await kit.until(lambda: shown("stale") == 2, "the router knows that they say nothing any more")
    assert await telemetry() == {"stale"}
    served = len(statuses)
    await kit.until(lambda: len(statuses) >= served + 5 * CLIENTS, "requests are served as before")
    (limit,) = {account.limits.kv_tokens for account in running.router.decider._endpoints.accounts.values()}
    assert limit == KV_TOKENS, "how much memory there is stays known"
    engines.cut = None
    await kit.until(lambda: shown("fresh") == 2, "and hears of them again")
    following.cancel()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert running.in_flight == 0
