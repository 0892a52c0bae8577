"""Long prompts flood the pool while a strict stream runs: its tokens keep coming in time, and the flood is served beside it."""

import asyncio

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.decisions.pace import EngineLimits

LIMITS = EngineLimits(max_num_seqs=64, batch_tokens=8192)
TBT_SECONDS = 0.15
"""A batch with one of the long prompts takes 0.4 s or 0.8 s, one of decodes 4 ms."""
CLASSES = (
    ServiceClass(name="strict", tbt=f"{TBT_SECONDS * 1000:.0f}ms", priority=10),
    ServiceClass(name="batch", default=True),
)
LONG_BYTES = 4 * 4000
FLOOD = 12
TOKENS = 300


def body(prompt_bytes: int, tokens: int) -> dict[str, object]:
    return {
        "model": "mock",
        "stream": True,
        "prompt": "abc " * (prompt_bytes // 4),
        "max_tokens": tokens,
        "ignore_eos": True,
    }


async def test_a_strict_stream_keeps_its_limit_while_long_prompts_arrive(router, mock_engine, kit):
    """The engines would take any prompt at once, and compute it in one batch (vLLM's scheduler without chunks)."""
    flags = "--scheduler", "vllm", "--time-scale", 2, "--max-model-len", 8192
    engines = [await mock_engine(LIMITS, *flags) for _ in range(2)]
    running = await router(config=RouterConfig(policy="least-request", classes=CLASSES))
    running.router.set_endpoints(engines)

    async def ask(service_class: str, prompt_bytes: int, tokens: int) -> int:
        how = {"path": "/v1/completions", "headers": {"x-slo-class": service_class}}
        status, answer, _ = await running.asked(body=body(prompt_bytes, tokens), **how)
        assert answer.endswith(b"data: [DONE]\n\n")
        return status

    await asyncio.gather(*(ask("batch", 400, 20) for _ in range(40)))  # by which the engines' pace is learnt
    paces = [account.pace for account in running.router.decider._endpoints.accounts.values()]
    assert all(pace.trusted for pace in paces)

    strict = asyncio.create_task(ask("strict", 40, TOKENS))
    tbt = "fairlead_router_tbt_seconds"
    await kit.until(lambda: running.sample(f"{tbt}_count", class_="strict", model="mock"), "the strict stream runs")
    begun = running.sample("fairlead_router_ttft_seconds_count", class_="batch", model="mock")
    flood = [asyncio.create_task(ask("batch", LONG_BYTES, 4)) for _ in range(FLOOD)]
    assert await strict == 200
    begun = running.sample("fairlead_router_ttft_seconds_count", class_="batch", model="mock") - begun
    assert running.sample("fairlead_router_good_requests_total", class_="strict") == 1
    within = running.sample(f"{tbt}_bucket", class_="strict", model="mock", le=str(TBT_SECONDS))
    assert within == running.sample(f"{tbt}_count", class_="strict", model="mock") == TOKENS - 1
    assert begun, "the other engine has worked meanwhile"
    assert await asyncio.gather(*flood) == [200] * FLOOD
