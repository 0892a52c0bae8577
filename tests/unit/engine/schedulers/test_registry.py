"""Schedulers by name: what a command line can ask for."""

import pytest

from fairlead_engine.batching import Core, Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Request


def test_every_scheduler_of_the_papers_has_a_name() -> None:
    assert set(SCHEDULERS) == {
        "fastertransformer", "orca", "orca-chunked", "vllm", "sarathi", "sarathi-spf", "simple-chunking", "rad",
        "slai", "slai-fcfs-fixed", "slai-spf-fixed", "slai-priority",
    }  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_serves_a_request_within_the_limits_it_was_published_with(name: str) -> None:
    core = Core(SCHEDULERS[name].limits, SCHEDULERS[name]())
    core.add(Request("a", 700, 3), 0.0)
    tokens = 0
    while batch := core.next_batch(0.0):
        tokens += len(core.complete(batch, 0.0))
    assert tokens == 3


def test_each_call_makes_a_scheduler_of_its_own() -> None:
    assert SCHEDULERS["slai"]() is not SCHEDULERS["slai"]()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sarathi", {"order": "spf"}),
        ("rad", {"tile": "64", "chunk": "128", "cycle": "10"}),
        ("rad", {"cycle": "infinite"}),
        ("slai", {"order": "fcfs", "offset": "10", "offset-when-full": "20", "full-share": "0.5"}),
        ("slai", {"most-decodes": "64", "default-tbt-limit": "0.3"}),
    ],
)
def test_options_are_read_from_text(name: str, options: dict[str, str]) -> None:
    assert SCHEDULERS[name](options) is not None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vllm", {"order": "spf"}, "scheduler vllm has no option 'order'; its options: none"),
        ("sarathi", {"chunk": "5"}, "scheduler sarathi has no option 'chunk'; its options: order"),
        ("sarathi", {"order": "lifo"}, "option order must be one of fcfs, spf, priority, not 'lifo'"),
        ("rad", {"tile": "0"}, "scheduler rad: option tile must be a whole number of at least 1, not '0'"),
        ("rad", {"cycle": "forever"}, "option cycle must be a whole number of at least 1, or infinite, not 'forever'"),
        ("slai", {"offset": "-1"}, "option offset must be a number of at least 0, not '-1'"),
        ("slai", {"offset": "nan"}, "option offset must be a number of at least 0, not 'nan'"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCHEDULERS[name](options)


def test_a_request_beyond_what_every_request_reserves_is_refused() -> None:
    core = Core(SCHEDULERS["orca"].limits, SCHEDULERS["orca"]())
    with pytest.raises(ValueError, match="request a: 8193 tokens, and every request has room for 8192"):
        core.add(Request("a", 8000, 193), 0.0)


def test_a_request_that_a_preemption_could_make_too_long_is_refused_where_prompts_are_not_chunked() -> None:
    core = Core(Limits(max_num_batched_tokens=100), SCHEDULERS["vllm"]())
    core.add(Request("fits", 90, 11), 0.0)
    with pytest.raises(ValueError, match="101 tokens to prefill, and max_num_batched_tokens is 100"):
        core.add(Request("a", 90, 12), 0.0)


def test_the_prefix_cache_needs_paged_memory() -> None:
    with pytest.raises(ValueError, match="prefix_cache needs paged memory"):
        Core(SCHEDULERS["orca"].limits, SCHEDULERS["orca"](), prefix_cache=True)
