"""No stream is cut when engines go: each test is named after what makes them go.

Fifty streams of a minute and more run through the router before it happens. Each must come to its regular end with
every token, without a retry; and some must have run on an engine that went, or the test has shown nothing.
"""

import json
import re
import subprocess
from typing import Any

import pytest
from cluster import CommandError
from release import Release
from scene import POOL, Namespace

STREAMS = 50
TOKENS = 800
LONG_SECONDS = 60
SLOW = ["--profile=mistral-7b-rtx6000-ada", "--time-scale=4"]
RUNNING = "vllm:num_requests_running"


@pytest.fixture
def busy(namespace: Namespace) -> Namespace:
    """A pool of four engines on which an answer takes more than a minute, and a client."""
    namespace.quickstart(engine={"args": SLOW}, replicas=4)
    namespace.start_client()
    return namespace


def start_streams(namespace: Namespace) -> subprocess.Popen[str]:
    """Start the streams and wait until all of them run."""
    arguments = ("--requests", str(STREAMS), "--max-tokens", str(TOKENS))
    streams = namespace.client_process("stream.py", *arguments)
    namespace.eventually(lambda: running(namespace) == STREAMS, "every stream runs", timeout=60)
    return streams


def running(namespace: Namespace) -> int:
    return sum(int(namespace.engine_metric(name, RUNNING)) for name in namespace.engine_names())


def streams_on_draining_engines(namespace: Namespace) -> int:
    """How many requests the pool's status says to run on engines that drain."""
    conditions = namespace.get("fpool", POOL)["status"]["conditions"]
    [draining] = [condition for condition in conditions if condition["type"] == "Draining"]
    return sum(int(count) for count in re.findall(r"(\d+) in flight", draining["message"]))


def assert_every_stream_is_whole(streams: subprocess.Popen[str]) -> None:
    records: list[dict[str, Any]] = json.loads(streams.communicate(timeout=600)[0])
    assert len(records) == STREAMS
    ends = {(json.dumps(r["error"]), r["finish_reason"], (r["usage"] or {}).get("completion_tokens")) for r in records}
    assert ends == {("null", "length", TOKENS)}
    assert min(record["seconds"] for record in records) > LONG_SECONDS


def test_scale_down_cuts_no_stream(busy: Namespace) -> None:
    streams = start_streams(busy)
    busy.kubectl("scale", f"fpool/{POOL}", "--replicas=2")
    busy.eventually(lambda: streams_on_draining_engines(busy) > 0, "streams on engines that drain")
    busy.kubectl("scale", f"fpool/{POOL}", "--replicas=5")
    assert_every_stream_is_whole(streams)
    busy.eventually(lambda: busy.settled() and len(busy.engines()) == 5, "five engines", timeout=300)


def test_rollout_of_arguments_cuts_no_stream(busy: Namespace) -> None:
    before = {pod["metadata"]["uid"] for pod in busy.engines()}
    streams = start_streams(busy)
    arguments = json.dumps({"spec": {"engine": {"args": [*SLOW, "--max-num-seqs=64"]}}})
    busy.kubectl("patch", "fpool", POOL, "--type=merge", "--patch", arguments)
    busy.eventually(lambda: streams_on_draining_engines(busy) > 0, "streams on an engine that drains")
    assert_every_stream_is_whole(streams)
    busy.eventually(
        lambda: busy.settled() and not before & {pod["metadata"]["uid"] for pod in busy.engines()},
        "every engine is a new one",
        timeout=600,
    )


def test_a_deleted_engine_cuts_no_stream(busy: Namespace) -> None:
    streams = start_streams(busy)
    victim = min(busy.engine_names())
    assert busy.engine_metric(victim, RUNNING) > 0
    busy.kubectl("delete", "pod", victim, "--wait=false")
    assert_every_stream_is_whole(streams)
    busy.eventually(lambda: busy.settled() and len(busy.engines()) == 4, "four engines", timeout=300)


def test_an_eviction_is_refused_and_cuts_no_stream(busy: Namespace) -> None:
    streams = start_streams(busy)
    victim = min(busy.engine_names())
    assert busy.engine_metric(victim, RUNNING) > 0
    about = {"name": victim, "namespace": busy.name}
    eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about})
    path = f"/api/v1/namespaces/{busy.name}/pods/{victim}/eviction"
    with pytest.raises(CommandError, match="disruption budget"):
        busy.kubectl("create", "--raw", path, "-f", "-", stdin=eviction)
    assert_every_stream_is_whole(streams)
    assert victim in busy.engine_names()


def test_a_deleted_pool_ends_its_streams_first(busy: Namespace) -> None:
    streams = start_streams(busy)
    busy.kubectl("delete", f"fpool/{POOL}", "--wait=false")
    assert_every_stream_is_whole(streams)
    busy.eventually(lambda: not busy.find("pods", f"fairlead.dev/pool={POOL}"), "no pod is left", timeout=300)


def test_the_operator_s_restart_in_a_drain_cuts_no_stream(busy: Namespace, operator: Release) -> None:
    streams = start_streams(busy)
    busy.kubectl("scale", f"fpool/{POOL}", "--replicas=2")
    busy.eventually(lambda: streams_on_draining_engines(busy) > 0, "streams on engines that drain")
    operator.kubectl("rollout", "restart", "deployment", "--selector=app.kubernetes.io/component=operator")
    assert_every_stream_is_whole(streams)
    busy.eventually(lambda: busy.settled() and len(busy.engines()) == 2, "two engines", timeout=300)
