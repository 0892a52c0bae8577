"""Read what engines publish in Prometheus' text format, by the names of each kind of engine.

An engine publishes hundreds of lines, and a router reads those of many engines between the tokens of its streams: so all
but the few that matter are left out before anything is parsed.

Names: vLLM's V1 engine, SGLang with `--enable-metrics`, and `trtllm-serve`.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fairlead_router.decisions.engine_report import EngineReport

_RUNNING: Final = frozenset({"vllm:num_requests_running", "sglang:num_running_reqs", "trtllm_num_requests_running"})
_WAITING: Final = frozenset({"vllm:num_requests_waiting", "sglang:num_queue_reqs", "trtllm_num_requests_waiting"})
_USAGE: Final = frozenset(
    {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "trtllm_kv_cache_utilization"}
)
_VLLM_CACHE: Final = "vllm:cache_config_info"
_CACHE_LABELS: Final = {
    _VLLM_CACHE: ("block_size", "num_gpu_blocks"),
    "sglang:cache_config_info": ("page_size", "num_pages"),
}
_BLOCK_TOKENS: Final = "trtllm_kv_cache_tokens_per_block"
_BLOCKS: Final = "trtllm_kv_cache_max_blocks"
_ADAPTERS: Final = "vllm:lora_requests_info"
_NAMES: Final = tuple(sorted({*_RUNNING, *_WAITING, *_USAGE, *_CACHE_LABELS, _BLOCK_TOKENS, _BLOCKS, _ADAPTERS}))


def read_report(text: str) -> EngineReport | None:
    """Return what an engine says of itself, or None where nothing is known by its name.

    Raises
    ------
    ValueError
        A line that matters is not of the format.

    """
    lines = [line for line in text.splitlines() if line.startswith(_NAMES)]
    samples: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    if not samples:
        return None
    running, waiting = _sum(samples, _RUNNING), _sum(samples, _WAITING)
    usages = [sample.value for name in _USAGE for sample in samples.get(name, ())]
    adapters, most_adapters = _adapters(samples.get(_ADAPTERS, ()))
    return EngineReport(
        running,
        waiting,
        max(usages, default=None),
        _kv_tokens(samples),
        adapters,
        most_adapters,
        _caches_prefixes(samples.get(_VLLM_CACHE, ())),
    )


def _sum(samples: dict[str, list[Sample]], names: Iterable[str]) -> int | None:
    found = [sample.value for name in names for sample in samples.get(name, ())]
    return int(sum(found)) if found else None


def _kv_tokens(samples: dict[str, list[Sample]]) -> int | None:
    tokens = [
        _count(sample.labels.get(block_tokens)) * _count(sample.labels.get(blocks))
        for name, (block_tokens, blocks) in _CACHE_LABELS.items()
        for sample in samples.get(name, ())
    ]
    tokens += [
        int(block_tokens.value * blocks.value)
        for block_tokens, blocks in zip(samples.get(_BLOCK_TOKENS, ()), samples.get(_BLOCKS, ()), strict=False)
    ]
    return sum(tokens) or None


def _caches_prefixes(samples: Iterable[Sample]) -> bool | None:
    said = {sample.labels.get("enable_prefix_caching") for sample in samples}
    return {"True": True, "False": False}.get(said.pop() or "") if len(said) == 1 else None


def _count(label: str | None) -> int:
    """Return a number that is a label, 0 where it is none: vLLM writes `None` before it knows."""
    return int(label) if label is not None and label.isdigit() else 0


def _adapters(samples: Iterable[Sample]) -> tuple[frozenset[str], int | None]:
    """Return the adapters of the newest sample: the value of each is the time that it is of."""
    newest = max(samples, key=lambda sample: sample.value, default=None)
    if newest is None:
        return frozenset(), None
    named = (newest.labels.get(f"{what}_lora_adapters", "") for what in ("running", "waiting"))
    adapters = {name.strip() for names in named for name in names.split(",") if name.strip()}
    return frozenset(adapters), _count(newest.labels.get("max_lora")) or None
