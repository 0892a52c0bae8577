"""The mock's metrics against those of vLLM."""

from typing import Any

import pytest
from vllm_metrics import INFO, families, listed, signature

from fairlead_engine.mock.settings import Settings

CHAT = "/v1/chat/completions"
WANTED_BY_READERS = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens",
    "vllm:generation_tokens",
    "vllm:request_success",
    "vllm:num_preemptions",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
    "vllm:iteration_tokens_total",
    "vllm:cache_config_info",
)


@pytest.fixture(scope="module")
def vllm() -> dict[str, str]:
    return listed()


async def test_every_metric_has_vllms_name_type_labels_and_buckets(mock: Any, vllm: dict[str, str]) -> None:
    ours = families(await mock.get_text("/metrics"))
    del ours[INFO]
    assert {name: signature(family) for name, family in ours.items()} == {name: vllm.get(name) for name in ours}


async def test_the_cache_configuration_has_labels_that_vllm_has(mock: Any, vllm: dict[str, str]) -> None:
    (sample,) = families(await mock.get_text("/metrics"))[INFO].samples
    assert set(sample.labels) <= set(vllm[INFO].split())
    assert (sample.labels["block_size"], sample.labels["num_gpu_blocks"]) == ("16", "14733")


@pytest.mark.parametrize("name", WANTED_BY_READERS)
async def test_what_routers_autoscalers_and_dashboards_read_is_there(mock: Any, name: str) -> None:
    assert name in families(await mock.get_text("/metrics"))


async def test_a_request_is_counted_token_by_token_and_phase_by_phase(start_mock: Any) -> None:
    mock = start_mock(Settings(served_model_names=("chat", "other")))
    body = {"model": "other", "messages": [{"role": "user", "content": "x" * 4 * 600}], "max_tokens": 5}
    await mock.stream(CHAT, **body)
    await mock.until(finished=1)
    values = {
        sample.name: sample.value
        for family in families(await mock.get_text("/metrics")).values()
        for sample in family.samples
        if sample.labels.get("finished_reason", "length") == "length" and "le" not in sample.labels
    }
    prompt_tokens = values["vllm:prompt_tokens_total"]
    assert prompt_tokens == 600 + 5  # the template adds "user: ", a line break and "assistant:"
    assert values["vllm:generation_tokens_total"] == 5
    assert values["vllm:request_success_total"] == 1
    assert (values["vllm:request_prompt_tokens_sum"], values["vllm:request_generation_tokens_sum"]) == (
        prompt_tokens,
        5,
    )
    assert values["vllm:time_to_first_token_seconds_count"] == 1
    assert values["vllm:inter_token_latency_seconds_count"] == 4
    # Two batches prefill the prompt, and only the second yields a token; four decodes follow.
    assert values["vllm:iteration_tokens_total_count"] == 5
    assert values["vllm:iteration_tokens_total_sum"] == prompt_tokens + 5
    phases = [values[f"vllm:request_{phase}_time_seconds_sum"] for phase in ("queue", "prefill", "decode")]
    assert all(phase >= 0 for phase in phases)
    assert sum(phases) == pytest.approx(values["vllm:e2e_request_latency_seconds_sum"])
    assert values["vllm:request_inference_time_seconds_sum"] == pytest.approx(phases[1] + phases[2])


async def test_series_are_labelled_with_the_first_served_name(start_mock: Any) -> None:
    mock = start_mock(Settings(served_model_names=("chat", "other")))
    samples = families(await mock.get_text("/metrics"))["vllm:num_requests_running"].samples
    assert [sample.labels for sample in samples] == [{"engine": "0", "model_name": "chat"}]
