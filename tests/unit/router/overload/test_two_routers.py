"""Two routers before the same engines, neither of which knows what the other sends: they admit no more than one would."""

import asyncio
from random import Random

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.decisions.pace import EngineLimits

LIMITS = EngineLimits(max_num_seqs=8, batch_tokens=512)
CLASSES = (ServiceClass(name="default", ttft="600ms"),)
BODY = {"model": "mock", "stream": True, "prompt": "word " * 80, "max_tokens": 32, "ignore_eos": True}
PER_SECOND = 110.0
"""The two engines do about 75."""
SECONDS = 4.0


async def test_two_routers_under_one_load_admit_no_more_than_one(router, mock_engine):
    engines = [await mock_engine(LIMITS, "--time-scale", 2) for _ in range(2)]

    async def admitted(number: int) -> int:
        """Send the same requests in the same moments to so many routers in turn."""
        routers = [await router(config=RouterConfig(policy="rad", classes=CLASSES)) for _ in range(number)]
        for each in routers:
            each.router.set_endpoints(engines)
        random, loop = Random(3), asyncio.get_running_loop()
        began = loop.time()

        async def ask(index: int, at: float) -> int:
            await asyncio.sleep(began + at - loop.time())
            status, _, _ = await routers[index % number].asked(path="/v1/completions", body=BODY)
            return status

        arrivals, at = [], 0.0
        while (at := at + random.expovariate(PER_SECOND)) < SECONDS:
            arrivals.append(at)
        statuses = await asyncio.gather(*(ask(index, at) for index, at in enumerate(arrivals)))
        assert set(statuses) == {200, 429}
        return statuses.count(200)

    one, two = await admitted(1), await admitted(2)
    assert two < 1.05 * one
