"""What the batch loop does to the clients' clocks."""

import asyncio
from statistics import mean, median
from typing import Any

from fairlead_engine.batch_time import Linear
from fairlead_engine.mock.settings import Settings
from fairlead_engine.types import Batch

COMPLETIONS = "/v1/completions"


def body(name: str, tokens: int) -> dict[str, Any]:
    return {"prompt": name, "max_tokens": tokens, "ignore_eos": True}


async def test_chunks_arrive_spaced_as_the_batches_end(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=Linear(base_seconds=0.02, token_seconds=0.0)))
    streamed = await mock.stream(COMPLETIONS, **body("a", 21))
    span = streamed.token_chunks[-1].arrived - streamed.token_chunks[0].arrived
    # Twenty batches of 20 ms: a buffered answer would span nothing, and one sent in bursts would have few gaps.
    assert 0.9 * 0.4 < span < 5 * 0.4
    assert sum(gap > 0.005 for gap in streamed.gaps) >= 10


async def test_time_scale_multiplies_the_batch_times(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=Linear(base_seconds=0.002, token_seconds=0.0), time_scale=10))
    streamed = await mock.stream(COMPLETIONS, **body("a", 11))
    assert 0.9 * 0.02 < mean(streamed.gaps) < 3 * 0.02


async def test_concurrent_requests_slow_one_another_as_the_batch_model_says(start_mock: Any) -> None:
    model = Linear(base_seconds=0.002, token_seconds=0.003)
    mock = start_mock(Settings(batch_time=model))

    def decodes(requests: int) -> float:
        return model.seconds(Batch(tuple(f"{i}" for i in range(requests))))

    alone = await mock.stream(COMPLETIONS, **body("a", 20))
    together = await asyncio.gather(*(mock.stream(COMPLETIONS, **body(f"{i}", 20)) for i in range(10)))
    predicted = decodes(10) / decodes(1)
    measured = median(median(streamed.gaps) for streamed in together) / median(alone.gaps)
    assert predicted / 2 < measured < predicted * 2


async def test_a_long_prompt_delays_its_own_first_token_and_the_tokens_of_others(start_mock: Any) -> None:
    mock = start_mock(Settings(batch_time=Linear(base_seconds=0.005, token_seconds=0.0002)))
    running = asyncio.create_task(mock.stream(COMPLETIONS, **body("a", 40)))
    await mock.until(running=1)
    await mock.stream(COMPLETIONS, **body("x" * 4 * 2000, 1))
    gaps = (await running).gaps
    # A batch with 511 tokens of the prompt takes 107 ms, one without it 5 ms.
    assert max(gaps) > 5 * min(gaps)
    assert max(gaps) > 0.05
