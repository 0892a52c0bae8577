"""Metrics under vLLM's prefix, described in one line each, so that engines can be compared."""

from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

LIST = Path(__file__).with_suffix(".txt")
"""What vLLM exposes: the mock engine is compared with it in every test run, and it with vLLM by `make vllm`."""

INFO = "vllm:cache_config_info"
"""Its labels have values that depend on the machine: only their names count."""


def listed() -> dict[str, str]:
    """Return the lines of the list by the name that they begin with."""
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {line.split()[0]: line for line in lines}


def families(text: str) -> dict[str, Metric]:
    """Return the metrics under vLLM's prefix, without the creation times that the client library adds."""
    parsed = {family.name: family for family in text_string_to_metric_families(text)}
    return {n: f for n, f in parsed.items() if n.startswith("vllm:") and not n.endswith("_created")}


def signature(family: Metric) -> str:
    """Describe a metric as a line of the list does: name, type, labels with their values, buckets."""
    labels: dict[str, set[str]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            labels.setdefault(label, set()).add(value)
    edges = sorted(labels.pop("le", set()) - {"+Inf"}, key=float)
    free = set(labels) if family.name == INFO else {"engine", "model_name"}
    words = [label if label in free else f"{label}={'|'.join(sorted(labels[label]))}" for label in sorted(labels)]
    return " ".join([family.name, family.type, *words, *([f"le={','.join(edges)}"] if edges else [])])
