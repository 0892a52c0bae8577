"""From `helm install` and `kubectl apply` of the quickstart sample to streams that arrive as the engine made them."""

import json
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from cluster import COMPONENTS, ROOT, Cluster
from release import Release
from scene import MODEL, Namespace, fresh_namespace

TOKENS = 60
TRACE = ROOT / "examples" / "traces" / "conversation.csv"
TRACE_REQUESTS = 200


@pytest.fixture(scope="module")
def chat(cluster: Cluster, release: Release) -> Iterator[Namespace]:
    with fresh_namespace(cluster) as made:
        made.quickstart()
        made.start_client()
        yield made


def gaps(arrivals: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(arrivals)]


def assert_streamed(record: dict[str, Any], direct_gap_seconds: float) -> None:
    """Every token came by itself, spaced as by an engine asked directly, and the answer says how it ended."""
    assert record["error"] is None
    assert record["finish_reason"] == "length"
    assert record["usage"]["completion_tokens"] == TOKENS
    assert record["usage"]["total_tokens"] == record["usage"]["prompt_tokens"] + TOKENS
    assert len(record["arrivals"]) == TOKENS
    found = gaps(record["arrivals"])
    assert 0.5 * direct_gap_seconds < median(found) < 2 * direct_gap_seconds
    burst_share = sum(gap < direct_gap_seconds / 5 for gap in found) / len(found)
    assert burst_share < 0.25, f"{burst_share:.0%} of the chunks came together with the one before"


@pytest.fixture(scope="module")
def direct_gap_seconds(chat: Namespace) -> float:
    """Median gap between chunks of an engine that is asked without a router."""
    address = chat.engines()[0]["status"]["podIP"]
    [record] = chat.client("stream.py", "--base-url", f"http://{address}:8000/v1", "--max-tokens", str(TOKENS))
    found = gaps(record["arrivals"])
    assert len(found) == TOKENS - 1
    return median(found)


def test_the_sample_becomes_ready_and_says_so_in_its_columns(chat: Namespace) -> None:
    chat.kubectl("wait", "fpool/chat", "--for=condition=Ready=True", "--timeout=1s")
    header, row = chat.kubectl("get", "fpool").splitlines()
    assert header.split()[:5] == ["NAME", "READY", "DESIRED", "PHASE", "MODEL"]
    assert row.split()[:5] == ["chat", "2", "2", "Ready", MODEL]


def test_the_openai_client_streams_through_the_service_in_the_cluster(
    chat: Namespace, direct_gap_seconds: float
) -> None:
    [record] = chat.client("stream.py", "--max-tokens", str(TOKENS))
    assert_streamed(record, direct_gap_seconds)


def test_the_openai_client_streams_through_a_port_forward(chat: Namespace, direct_gap_seconds: float) -> None:
    with chat.port_forward("service/chat", 80) as port:
        [record] = chat.client_here("stream.py", port, "--max-tokens", str(TOKENS))
    assert_streamed(record, direct_gap_seconds)


def test_a_request_for_an_alias_is_served(chat: Namespace) -> None:
    [record] = chat.client("stream.py", "--model", "chat", "--max-tokens", "3")
    assert (record["error"], record["usage"]["completion_tokens"]) == (None, 3)


def test_concurrent_streams_are_spread_over_both_engines(chat: Namespace) -> None:
    engines = sorted(chat.engine_names())
    before = [chat.engine_metric(engine, "vllm:request_success_total") for engine in engines]
    records = chat.client("stream.py", "--requests", "8", "--max-tokens", str(TOKENS))
    assert [record["error"] for record in records] == [None] * 8
    after = [chat.engine_metric(engine, "vllm:request_success_total") for engine in engines]
    assert [now - then for now, then in zip(after, before, strict=True)] == [4, 4]


def test_requests_of_a_trace_all_complete_with_exactly_the_tokens_asked_for(namespace: Namespace) -> None:
    namespace.quickstart(engine={"args": ["--time-scale=0.5"]})  # the trace's 83 000 tokens want a faster engine
    namespace.start_client()
    header, *rows = TRACE.read_text().splitlines()[: TRACE_REQUESTS + 1]
    summary = namespace.client("replay.py", "--concurrency", "64", stdin="\n".join([header, *rows]), timeout=600)
    assert (summary["requests"], summary["exact"]) == (TRACE_REQUESTS, TRACE_REQUESTS), summary["wrong"]


def test_every_shipped_pod_runs_at_the_restricted_level(chat: Namespace, release: Release) -> None:
    """The namespaces enforce it, so that these pods exist is the proof; that they enforce it is what could be wrong."""
    for name in (chat.name, "fairlead-system"):
        labels = json.loads(chat.cluster.run("kubectl", "get", "namespace", name, "-o", "json"))["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    components = {
        pod["metadata"]["labels"]["fairlead.dev/component"] for pod in chat.find("pods", "fairlead.dev/pool=chat")
    }
    assert components == {"engine", "router"}
    assert release.operator_pod()


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_image_is_smaller_than_250_megabytes(cluster: Cluster, component: str) -> None:
    size = cluster.run("docker", "image", "inspect", "--format", "{{.Size}}", cluster.images[component])
    assert int(size) < 250e6
