"""The mock's metrics: names, labels, types and buckets of vLLM 0.32.0, so that what reads an engine reads a mock.

Only what the mock really has is published. One meaning differs: a request aborted because its client hung up counts in
`vllm:request_success_total{finished_reason="abort"}`, where vLLM 0.32.0 counts it nowhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from fairlead_engine.batching import Core
from fairlead_engine.blocks import BLOCK_TOKENS
from fairlead_engine.mock.settings import Settings

_LABELS = ("engine", "model_name")
_FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")
_FIRST_TOKEN_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_TOKEN_GAP_SECONDS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_PHASE_SECONDS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_BATCH_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)

_PHASES: Mapping[str, str] = MappingProxyType(
    {
        "vllm:e2e_request_latency_seconds": "From arrival to the last token.",
        "vllm:request_queue_time_seconds": "From arrival to admission.",
        "vllm:request_prefill_time_seconds": "From admission to the first token.",
        "vllm:request_decode_time_seconds": "From the first token to the last.",
        "vllm:request_inference_time_seconds": "From admission to the last token.",
    }
)


@dataclass(slots=True)
class Timeline:
    """What happened to one request, when, in seconds of the engine's clock; 0 is not yet."""

    arrived: float
    admitted: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
    preemptions: int = 0


class _RequestHistograms:
    """Histograms with one observation per complete request."""

    def __init__(self, histogram: Callable[[str, str, tuple[float, ...]], Histogram], max_model_len: int) -> None:
        lengths = _lengths(max_model_len)
        self._prompt_tokens = histogram("vllm:request_prompt_tokens", "Prompt tokens.", lengths)
        self._generation_tokens = histogram("vllm:request_generation_tokens", "Output tokens.", lengths)
        self._preemptions = histogram("vllm:request_num_preemptions", "Preemptions of a request.", _PREEMPTIONS)
        self._mean_gap_seconds = histogram(
            "vllm:request_time_per_output_token_seconds", "Mean gap between a request's tokens.", _TOKEN_GAP_SECONDS
        )
        self._phases = [histogram(name, text, _PHASE_SECONDS) for name, text in _PHASES.items()]

    def observe(self, times: Timeline, *, prompt_tokens: int, output_tokens: int) -> None:
        """Record a request."""
        self._prompt_tokens.observe(prompt_tokens)
        self._generation_tokens.observe(output_tokens)
        self._preemptions.observe(times.preemptions)
        decode_seconds = times.last_token - times.first_token
        self._mean_gap_seconds.observe(decode_seconds / (output_tokens - 1) if output_tokens > 1 else 0.0)
        seconds = (
            times.last_token - times.arrived,
            times.admitted - times.arrived,
            times.first_token - times.admitted,
            decode_seconds,
            times.last_token - times.admitted,
        )
        for histogram, value in zip(self._phases, seconds, strict=True):
            histogram.observe(value)


class EngineMetrics:
    """The metrics of one engine, in a registry of their own."""

    def __init__(self, settings: Settings, core: Core) -> None:
        self._registry = CollectorRegistry()
        self._base = {"engine": "0", "model_name": settings.served_model_names[0]}
        ProcessCollector(registry=self._registry)
        self._publish_state(core)
        self._publish_cache_config(settings)
        self._prefix_cache = core.prefix_cache
        self._prefix_queries = self._counter("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache.")
        self._prefix_hits = self._counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache.")
        self._seen_queries = self._seen_hits = 0
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens of requests that were prefilled.")
        self._generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self._preemptions = self._counter("vllm:num_preemptions", "Preemptions for want of KV memory.")
        ended = Counter(
            "vllm:request_success", "Ended requests.", (*_LABELS, "finished_reason"), registry=self._registry
        )
        self._ended = {reason: ended.labels(**self._base, finished_reason=reason) for reason in _FINISHED_REASONS}
        self._batch_tokens = self._histogram(
            "vllm:iteration_tokens_total", "Prompts completed by a batch, in tokens, plus its output.", _BATCH_TOKENS
        )
        self._first_token_seconds = self._histogram(
            "vllm:time_to_first_token_seconds", "From arrival to the first token.", _FIRST_TOKEN_SECONDS
        )
        self._token_gap_seconds = self._histogram(
            "vllm:inter_token_latency_seconds", "Between two tokens of a request.", _TOKEN_GAP_SECONDS
        )
        self._of_requests = _RequestHistograms(self._histogram, settings.max_model_len)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._count_prefixes()
        return generate_latest(self._registry)

    def _count_prefixes(self) -> None:
        """Carry over what the core has counted itself."""
        if self._prefix_cache is None:
            return
        queried, hit = self._prefix_cache.queried_tokens, self._prefix_cache.hit_tokens
        self._prefix_queries.inc(queried - self._seen_queries)
        self._prefix_hits.inc(hit - self._seen_hits)
        self._seen_queries, self._seen_hits = queried, hit

    def preempted(self, requests: int) -> None:
        """Count requests that were preempted."""
        self._preemptions.inc(requests)

    def first_token(self, seconds: float, *, prompt_tokens: int) -> None:
        """Count a prompt that has been prefilled, `seconds` after its arrival."""
        self._prompt_tokens.inc(prompt_tokens)
        self._first_token_seconds.observe(seconds)

    def token_gap(self, seconds: float) -> None:
        """Observe the gap between two tokens of a request."""
        self._token_gap_seconds.observe(seconds)

    def batch(self, *, prompt_tokens: int, generated_tokens: int) -> None:
        """Count what one batch yielded."""
        self._generation_tokens.inc(generated_tokens)
        self._batch_tokens.observe(prompt_tokens + generated_tokens)

    def aborted(self) -> None:
        """Count a request that was given up."""
        self._ended["abort"].inc()

    def finished(self, reason: str, times: Timeline, *, prompt_tokens: int, output_tokens: int) -> None:
        """Record a request that had all its tokens."""
        self._ended[reason].inc()
        self._of_requests.observe(times, prompt_tokens=prompt_tokens, output_tokens=output_tokens)

    def _publish_state(self, core: Core) -> None:
        blocks = core.limits.num_gpu_blocks
        self._gauge("vllm:num_requests_running", "Admitted requests.").set_function(lambda: core.running)
        self._gauge("vllm:num_requests_waiting", "Requests not yet admitted.").set_function(lambda: core.waiting)
        self._gauge("vllm:kv_cache_usage_perc", "Share of the KV blocks in use, 0 to 1.").set_function(
            lambda: core.used_blocks / blocks
        )
        by_reason = Gauge(
            "vllm:num_requests_waiting_by_reason", "Waiting requests.", (*_LABELS, "reason"), registry=self._registry
        )
        by_reason.labels(**self._base, reason="capacity").set_function(lambda: core.waiting)
        by_reason.labels(**self._base, reason="deferred").set(0)

    def _publish_cache_config(self, settings: Settings) -> None:
        facts = {
            "block_size": str(BLOCK_TOKENS),
            "enable_prefix_caching": str(settings.prefix_cache),
            "kv_cache_size_tokens": str(settings.limits.num_gpu_blocks * BLOCK_TOKENS),
            "num_gpu_blocks": str(settings.limits.num_gpu_blocks),
        }
        info = Gauge("vllm:cache_config_info", "KV cache.", ("engine", *facts), registry=self._registry)
        info.labels(engine="0", **facts).set(1)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, _LABELS, registry=self._registry).labels(**self._base)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, _LABELS, registry=self._registry).labels(**self._base)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, _LABELS, registry=self._registry, buckets=buckets).labels(**self._base)


def _lengths(max_model_len: int) -> tuple[float, ...]:
    """Return vLLM's buckets of lengths: 1, 2, 5, 10, 20, 50, ... up to the context length."""
    steps = (step * 10**power for power in range(len(str(max_model_len))) for step in (1, 2, 5))
    return tuple(float(step) for step in steps if step <= max_model_len)
