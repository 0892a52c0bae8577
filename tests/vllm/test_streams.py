"""Streams of real vLLM: every token when it is made, what the router sees of them, and what happens when a client leaves.

How much vLLM has generated is the clock here: it counts however busy the machine is.
"""

import asyncio
import time
from typing import Any

import openai
import pytest

TOKENS = 4000
"""Ten seconds of vLLM on a core that nobody else uses."""

CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "temperature": 0,
}
PROMPT: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0}
INPUT: dict[str, Any] = {"model": "tiny", "input": "Tell me a story.", "temperature": 0}
USAGE = {"stream_options": {"include_usage": True}}
LONG: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT | {"max_tokens": TOKENS},
    "/v1/completions": PROMPT | {"max_tokens": TOKENS},
    "/v1/responses": INPUT | {"max_output_tokens": TOKENS},
    "/v1/messages": CHAT | {"max_tokens": TOKENS},
}
SHORT: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT | USAGE | {"max_tokens": 50},
    "/v1/completions": PROMPT | USAGE | {"max_tokens": 50},
    "/v1/responses": INPUT | {"max_output_tokens": 50},
    "/v1/messages": CHAT | {"max_tokens": 50},
}


@pytest.fixture
async def client(router):
    async with openai.AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def generated(scrape: Any) -> float:
    """Tokens that vLLM has generated since its start."""
    return scrape.value("vllm:generation_tokens_total")


def idle(scrape: Any) -> bool:
    return scrape.value("vllm:num_requests_running") == 0


@pytest.fixture
async def before(vllm_metrics):
    """What vLLM had generated before the test."""
    return generated(await vllm_metrics.until("vLLM has nothing to do", idle))


async def test_tokens_arrive_one_by_one_while_vllm_makes_them(client, vllm_metrics, before):
    asked = time.monotonic()
    stream = await client.completions.create(**PROMPT, max_tokens=TOKENS // 4, stream=True)
    arrived = []
    async for _ in stream:
        arrived.append(time.monotonic() - asked)
        if len(arrived) == 1:
            assert generated(await vllm_metrics.scrape()) - before < TOKENS // 4
    assert arrived[0] < arrived[-1] / 2
    # One event a token; vLLM puts several into one where it is late itself.
    assert TOKENS // 40 < len(arrived) <= TOKENS // 4


@pytest.mark.parametrize("path", LONG)
async def test_a_client_that_leaves_a_stream_ends_its_request_in_vllm(session, router, vllm_metrics, before, path):
    async with session.post(router.url + path, json=LONG[path] | {"stream": True}) as answer:
        assert answer.status == 200
        await answer.content.readany()
        await vllm_metrics.until("vLLM generates", lambda now: generated(now) > before)
        answer.close()
    after = await vllm_metrics.until("vLLM has ended the request", idle)
    assert generated(after) - before < TOKENS * 3 / 4


@pytest.mark.parametrize("path", LONG)
async def test_a_client_that_leaves_before_its_answer_ends_its_request_in_vllm(
    session, router, vllm_metrics, before, path
):
    asking = asyncio.create_task(session.post(router.url + path, json=LONG[path]))
    await vllm_metrics.until("vLLM generates", lambda now: generated(now) > before)
    asking.cancel()
    after = await vllm_metrics.until("vLLM has ended the request", idle)
    assert generated(after) - before < TOKENS * 3 / 4


async def test_vllm_counts_a_request_that_its_client_left_nowhere(session, router, vllm_metrics, before):
    """The mock engine counts it as `abort`, and its documentation says that vLLM does not."""
    ended = (await vllm_metrics.scrape()).value("vllm:request_success_total")
    async with session.post(router.url + "/v1/completions", json=LONG["/v1/completions"] | {"stream": True}) as answer:
        await vllm_metrics.until("vLLM generates", lambda now: generated(now) > before)
        answer.close()
    after = await vllm_metrics.until("vLLM has ended the request", idle)
    assert after.value("vllm:request_success_total") == ended


async def test_a_client_that_leaves_takes_no_other_with_it(client):
    streams = [await client.completions.create(**PROMPT, max_tokens=200, stream=True) for _ in range(4)]
    await streams[0].close()
    ends = [[chunk async for chunk in stream][-1].choices[0].finish_reason for stream in streams[1:]]
    assert ends == ["length"] * 3


@pytest.mark.parametrize("path", SHORT)
async def test_the_router_counts_the_tokens_that_vllm_counts(session, router, router_metrics, path):
    earlier = await router_metrics.scrape()
    async with session.post(router.url + path, json=SHORT[path] | {"stream": True}) as answer:
        await answer.read()
    now = await router_metrics.scrape()

    def more(name: str, **labels: str) -> float:
        return now.value(name, **labels) - earlier.value(name, **labels)

    assert more("fairlead_router_tokens_total", direction="output") == 50
    assert more("fairlead_router_tokens_total", direction="prompt") > 0
    assert more("fairlead_router_ttft_seconds_count") == 1
    assert 0 < more("fairlead_router_tbt_seconds_count") < 50
    assert more("fairlead_router_good_requests_total") == 1
