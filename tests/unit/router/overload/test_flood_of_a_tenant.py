"""One tenant sends ten times what is its own; the others get what is theirs."""

import asyncio
import contextlib
from collections import Counter

import pytest

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.decisions.pace import EngineLimits
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, hash_of

OTHERS = ("a", "b", "c")
AT_ONCE = {"flood": 40, **dict.fromkeys(OTHERS, 4)}
"""Requests that each tenant has under way all the time: more than its share of the four that run."""
COUNTED = 160
BODY = {"model": "mock", "stream": True, "prompt": "word " * 40, "max_tokens": 16, "ignore_eos": True}
TOKENS = 57
LIMITS = EngineLimits(max_num_seqs=4, batch_tokens=512)


class Tenants:
    """Clients that ask again as soon as they have their answer, or after a moment when they are refused."""

    def __init__(self, running) -> None:
        self.running = running
        self.served: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        keys = [f"{{name: {each}, tenant: {each}, hash: '{hash_of(each.encode())}'}}" for each in AT_ONCE]
        running.router.gate = Gate(KeyRing.from_yaml(f"keys: [{', '.join(keys)}]"))

    async def ask(self, tenant: str) -> None:
        while True:
            status, body, _ = await self.running.asked(
                path="/v1/completions", body=BODY, headers={"authorization": f"Bearer {tenant}"}
            )
            if status == 200:
                assert body.endswith(b"data: [DONE]\n\n")
                self.served[tenant] += 1
            else:
                assert status == 429
                self.refused[tenant] += 1
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def asking(self):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.ask(name)) for name, number in AT_ONCE.items() for _ in range(number)]
            yield
            for task in tasks:
                task.cancel()


@pytest.mark.parametrize("ttft", [None, "400ms"])
async def test_the_others_keep_their_share_of_the_tokens(router, mock_engine, kit, ttft):
    """Whether what cannot begin in time waits or is refused: it is the flood that does."""
    engine = await mock_engine(LIMITS, "--time-scale", 1)
    running = await router(config=RouterConfig(policy="rad", classes=(ServiceClass(name="default", ttft=ttft),)))
    running.router.set_endpoints([engine])
    tenants = Tenants(running)
    async with tenants.asking():
        await kit.until(lambda: tenants.served.total() >= 40, "everybody has come")
        before = tenants.served.copy()
        async with asyncio.timeout(20):
            while tenants.served.total() < before.total() + COUNTED:  # noqa: ASYNC110 - clients of this process
                await asyncio.sleep(0.01)
        served = {name: TOKENS * (tenants.served[name] - before[name]) for name in AT_ONCE}
    fair = sum(served.values()) / len(AT_ONCE)
    assert all(served[name] >= 0.95 * fair for name in OTHERS), served
    assert jain(served.values()) >= 0.95
    if ttft is not None:
        assert tenants.refused["flood"] > 10 * sum(tenants.refused[name] for name in OTHERS)


def jain(shares) -> float:
    shares = list(shares)
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
