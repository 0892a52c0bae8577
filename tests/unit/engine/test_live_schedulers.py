"""The engine core in real time: every scheduler, the prefix cache, what requests are promised, and the batch log."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead_engine.batch_time import Linear
from fairlead_engine.limits import Limits
from fairlead_engine.mock.prefix import block_hashes
from fairlead_engine.mock.settings import Settings
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_simulator.replay import replay

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
QUICK = Linear(0.001, 0.0)
STORY = "Once upon a time there was a king. " * 10  # 350 bytes: 88 tokens, five blocks of 64 bytes


def settings(scheduler: str, **others: Any) -> Settings:
    limits = replace(SCHEDULERS[scheduler].limits, num_gpu_blocks=2000)
    if limits.reserved_tokens is not None:
        limits = replace(limits, reserved_tokens=1024)
    return Settings(scheduler=scheduler, limits=limits, max_model_len=1024, batch_time=QUICK, **others)


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
async def test_a_live_batch_log_of_any_scheduler_replays_to_the_same_batches(start_mock: Any, scheduler: str) -> None:
    lines: list[str] = []
    mock = start_mock(settings(scheduler), lines.append)
    lengths = [(7 * i % 23) + 1 for i in range(24)]

    async def ask(number: int, max_tokens: int) -> int:
        body = {"prompt": f"{number} " * (30 * (number % 7) + 1), "max_tokens": max_tokens, "ignore_eos": True}
        _, answer = await mock.post(COMPLETIONS, body)
        return int(answer["usage"]["completion_tokens"])

    leaving = asyncio.create_task(mock.post(COMPLETIONS, {"prompt": "x", "max_tokens": 900, "ignore_eos": True}))
    await mock.until(running=1)
    answers = asyncio.gather(*(ask(number, tokens) for number, tokens in enumerate(lengths)))
    leaving.cancel()
    assert await answers == lengths
    await mock.until(running=0, waiting=0)
    replayed = replay(list(lines))
    assert replayed.difference is None
    assert replayed.header.scheduler == scheduler
    assert replayed.requests == 25
    assert replayed.batches >= max(lengths)


async def test_a_prompt_that_begins_as_another_did_is_found_in_the_prefix_cache(start_mock: Any) -> None:
    mock = start_mock(settings("sarathi", prefix_cache=True))
    cached = []
    for prompt in (STORY, STORY, STORY + "The end.", "Another story. " * 20):
        _, answer = await mock.post(COMPLETIONS, {"prompt": prompt, "max_tokens": 1})
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 80, 80, 0]
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(await mock.get_text("/metrics"))
        for sample in family.samples
    }
    assert values["vllm:prefix_cache_hits_total"] == 160
    assert values["vllm:prefix_cache_queries_total"] == values["vllm:prompt_tokens_total"]


async def test_the_next_turn_of_a_conversation_finds_prompt_and_answer(start_mock: Any) -> None:
    mock = start_mock(settings("sarathi", prefix_cache=True))
    messages = [{"role": "user", "content": STORY}]
    _, first = await mock.post(CHAT, {"messages": messages, "max_tokens": 100, "ignore_eos": True})
    messages += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    _, second = await mock.post(CHAT, {"messages": messages, "max_tokens": 1})
    known = first["usage"]["total_tokens"]
    assert known - 32 <= second["usage"]["prompt_tokens_details"]["cached_tokens"] <= known


async def test_streams_and_other_apis_say_what_was_cached(start_mock: Any) -> None:
    mock = start_mock(settings("sarathi", prefix_cache=True))
    body = {"messages": [{"role": "user", "content": STORY}], "max_tokens": 1}
    await mock.post(CHAT, body)
    streamed = await mock.stream(CHAT, **body, stream_options={"include_usage": True})
    assert streamed.chunks[-1].data["usage"]["prompt_tokens_details"] == {"cached_tokens": 80}
    _, message = await mock.post("/v1/messages", body)
    usage = message["usage"]
    assert (usage["cache_read_input_tokens"], usage["input_tokens"]) == (
        80,
        streamed.chunks[-1].data["usage"]["prompt_tokens"] - 80,
    )
    _, response = await mock.post("/v1/responses", {"input": STORY, "max_output_tokens": 1})
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 80


async def test_without_a_prefix_cache_usage_does_not_speak_of_it(mock: Any) -> None:
    _, answer = await mock.post(COMPLETIONS, {"prompt": STORY, "max_tokens": 1})
    assert answer["usage"]["prompt_tokens_details"] is None


def test_adapters_and_salts_share_no_blocks() -> None:
    given = [
        block_hashes(STORY, adapter=adapter, salt=salt) for adapter, salt in [(None, None), ("a", None), (None, "a")]
    ]
    assert len(set(given)) == 3
    assert len({len(hashes) for hashes in given}) == 1
    assert not set(given[0]) & set(given[1]) | set(given[1]) & set(given[2])


def test_equal_beginnings_have_equal_hashes_and_no_more() -> None:
    first, second = (block_hashes(STORY + end, adapter=None, salt=None) for end in ("a" * 64, "b" * 64))
    assert len(first) == 6
    assert first[:5] == second[:5]
    assert first[5] != second[5]


async def test_priority_class_and_tbt_limit_reach_the_scheduler(start_mock: Any) -> None:
    lines: list[str] = []
    mock = start_mock(settings("slai-priority"), lines.append)
    headers = {"x-slo-class": "interactive", "x-slo-tbt-ms": "100"}
    body = {"prompt": "x", "max_tokens": 1, "priority": 3}
    async with mock.session() as session, session.post(COMPLETIONS, json=body, headers=headers) as response:
        assert response.status == 200
    added = [json.loads(line)["add"] for line in lines if '"add"' in line]
    assert [(request["priority"], request["slo_class"], request["tbt_limit_seconds"]) for request in added] == [
        (3, "interactive", 0.1)
    ]


@pytest.mark.parametrize("limit", ["fast", "0", "-5", "inf", "nan", ""])
async def test_a_tbt_limit_that_is_no_time_is_refused(mock: Any, limit: str) -> None:
    async with mock.session() as session:
        headers = {"x-slo-tbt-ms": limit}
        async with session.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 1}, headers=headers) as response:
            assert response.status == 400
            assert "x-slo-tbt-ms must be a number of milliseconds" in (await response.json())["error"]["message"]


async def test_a_lower_priority_number_is_served_first(start_mock: Any) -> None:
    limits = Limits(max_num_seqs=1, num_gpu_blocks=200)
    chosen = Settings(
        scheduler="sarathi", scheduler_options={"order": "priority"}, limits=limits, max_model_len=1024,
        batch_time=Linear(0.01, 0.0),
    )  # fmt: skip
    mock = start_mock(chosen)
    order: list[int] = []

    async def ask(priority: int) -> None:
        await mock.post(COMPLETIONS, {"prompt": "x", "max_tokens": 2, "priority": priority, "ignore_eos": True})
        order.append(priority)

    first = asyncio.create_task(mock.stream(COMPLETIONS, prompt="x", max_tokens=30, ignore_eos=True))
    await mock.until(running=1)
    waiting = []
    for number, priority in enumerate((5, 1, 3), start=1):
        waiting.append(asyncio.create_task(ask(priority)))
        await mock.until(waiting=number)
    await asyncio.gather(first, *waiting)
    assert order == [1, 3, 5]
