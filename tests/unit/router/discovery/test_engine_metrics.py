"""What engines say of themselves, by the names of each kind."""

import pytest

from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.discovery.engine_metrics import read_report

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:cache_config_info{block_size="16",enable_prefix_caching="False",engine="0",num_gpu_blocks="1000"} 1.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql,fr",waiting_lora_adapters="de"} 1.8e+09
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 7.0
"""
TWO_RANKS = """\
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 4.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="1000"} 1.0
"""
SGLANG = """\
sglang:num_running_reqs{model_name="m"} 5.0
sglang:num_queue_reqs{model_name="m"} 1.0
sglang:token_usage{model_name="m"} 0.5
sglang:cache_config_info{page_size="1",num_pages="5000"} 1.0
"""
TRTLLM = """\
trtllm_num_requests_running 6.0
trtllm_num_requests_waiting 0.0
trtllm_kv_cache_utilization 0.1
trtllm_kv_cache_tokens_per_block 32.0
trtllm_kv_cache_max_blocks 100.0
"""


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (VLLM, EngineReport(3, 2, 0.25, 16_000, frozenset({"sql", "fr", "de"}), 4, caches_prefixes=False)),
        (TWO_RANKS, EngineReport(7, None, 0.75, 32_000)),
        (SGLANG, EngineReport(5, 1, 0.5, 5000)),
        (TRTLLM, EngineReport(6, 0, 0.1, 3200)),
        ('vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0\n', EngineReport()),
        ("vllm:gpu_cache_usage_perc 0.5\n", EngineReport(kv_usage=0.5)),
    ],
    ids=["vllm", "ranks", "sglang", "trtllm", "not yet known", "older vllm"],
)
def test_an_engine_is_read_by_its_names(text, report):
    assert read_report(text) == report


@pytest.mark.parametrize("text", ["", "# HELP x y\n", "process_cpu_seconds_total 3\n", "<html>\n"])
def test_where_nothing_is_known_by_its_name_there_is_no_report(text):
    assert read_report(text) is None


def test_a_line_that_matters_and_is_broken_is_an_error():
    with pytest.raises(ValueError, match="could not convert"):
        read_report("vllm:num_requests_running three\n")
