"""What the real API server accepts, defaults and refuses."""

import copy
import json
from typing import Any

import pytest
from control_plane import Cluster

from fairlead_operator.api.pool import parse_spec

QUICKSTART: dict[str, Any] = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "InferencePool",
    "metadata": {"name": "chat"},
    "spec": {"model": {"name": "mock"}, "engine": {"type": "mock"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The quickstart with the field at `path` set to `value`; ... removes it."""
    manifest = copy.deepcopy(QUICKSTART)
    *parents, last = path.split(".")
    node = manifest
    for part in parents:
        node = node.setdefault(part, {})
    if value is ...:
        node.pop(last)
    else:
        node[last] = value
    return manifest


BAD: list[tuple[str, Any, str, str]] = [
    # the field, its value, and what the message must say: the field, and what is allowed
    ("spec", ..., "spec", "Required value"),
    ("spec.model", ..., "spec.model", "Required value"),
    ("spec.model.name", ..., "spec.model.name", "Required value"),
    ("spec.model.name", "", "spec.model.name", "at least 1 chars long"),
    ("spec.model.name", "has space", "spec.model.name", "should match"),
    ("spec.model.name", "x" * 129, "spec.model.name", "may not be more than 128"),
    ("spec.model.aliases", ["mock"], "spec.model", "aliases must not repeat the model's name"),
    ("spec.model.aliases", ["a", "a"], "spec.model.aliases[1]", "Duplicate value"),
    ("spec.model.uri", "hf://org/model", "spec", "model.uri must not be set with engine.type mock"),
    ("spec.model.uri", "ftp://x", "spec.model.uri", "should match"),
    ("spec.engine", ..., "spec.engine", "Required value"),
    ("spec.engine.type", ..., "spec.engine.type", "Required value"),
    ("spec.engine.type", "tgi", "spec.engine.type", 'supported values: "mock", "vllm"'),
    ("spec.engine.type", "vllm", "spec", "model.uri is required by engine.type vllm"),
    ("spec.engine.image", "", "spec.engine.image", "at least 1 chars long"),
    ("spec.engine.image", "an image", "spec.engine.image", "should match"),
    ("spec.engine.args", ["--port", "1"], "spec.engine", "args must not contain --model"),
    ("spec.engine.args", ["--served-model-name=x"], "spec.engine", "Fairlead sets them from the spec"),
    ("spec.engine.args", "--x", "spec.engine.args", "must be of type array"),
    ("spec.engine.args", [""], "spec.engine.args[0]", "at least 1 chars long"),
    ("spec.engine.resources", {"requests": {"cpu": "a lot"}}, "spec.engine.resources.requests.cpu", "should match"),
    (
        "spec.engine.resources",
        {"requests": {"cpu": -1}},
        "spec.engine.resources.requests.cpu",
        "greater than or equal to 0",
    ),
    (
        "spec.engine.resources",
        {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}},
        "spec.engine.resources",
        "requests must not exceed limits",
    ),
    ("spec.replicas", -1, "spec.replicas", "greater than or equal to 0"),
    ("spec.replicas", 1001, "spec.replicas", "less than or equal to 1000"),
    ("spec.replicas", "two", "spec.replicas", "must be of type integer"),
    ("spec.replicas", 1.5, "spec.replicas", "must be of type integer"),
    ("spec.classes", [], "spec.classes", "at least 1 items"),
    ("spec.classes", [{"name": "a"}, {"name": "a"}], "spec.classes[1]", "Duplicate value"),
    ("spec.classes", [{"name": "Big"}], "spec.classes[0].name", "should match"),
    ("spec.classes", [{"ttft": "1s"}], "spec.classes[0].name", "Required value"),
    ("spec.classes", [{"name": "a", "ttft": "fast"}], "spec.classes[0].ttft", "should match"),
    ("spec.classes", [{"name": "a", "ttft": 500}], "spec.classes[0].ttft", "must be of type string"),
    ("spec.classes", [{"name": "a", "tbt": "0s"}], "spec.classes[0].tbt", "must be longer than 0"),
    (
        "spec.classes",
        [{"name": "a", "default": True}, {"name": "b", "default": True}],
        "spec",
        "at most one class may have default: true",
    ),
    ("spec.router.replicas", 0, "spec.router.replicas", "greater than or equal to 1"),
    ("spec.router.policy", "random", "spec.router.policy", 'supported values: "least-loaded", "round-robin"'),
    ("spec.router.service", {"type": "ExternalName"}, "spec.router.service.type", "supported values"),
    ("spec.router.service", {"port": 65536}, "spec.router.service.port", "less than or equal to 65535"),
    ("spec.router.timeouts", {"connect": "-1s"}, "spec.router.timeouts.connect", "should match"),
    ("spec.router.timeouts", {"firstByte": "1d"}, "spec.router.timeouts.firstByte", "should match"),
    ("spec.replica", 3, "spec.replica", "unknown field"),
    ("spec.engine.arguments", [], "spec.engine.arguments", "unknown field"),
    ("metadata.name", "x" * 41, "metadata.name", "at most 40 characters"),
    ("metadata.name", "1chat", "metadata.name", "must start with a letter"),
    ("metadata.name", "my.chat", "metadata.name", "only lower-case letters, digits and dashes"),
]


@pytest.mark.parametrize(("path", "value", "field", "allowed"), BAD, ids=[f"{p}={v!r}"[:60] for p, v, _, _ in BAD])
def test_a_bad_manifest_is_refused_with_the_field_and_what_is_allowed(
    cluster: Cluster, namespace: str, path: str, value: Any, field: str, allowed: str
) -> None:
    refusal = cluster.apply(changed(path, value), namespace, check=False)
    assert refusal.returncode != 0
    assert field in refusal.stderr
    assert allowed in refusal.stderr
    assert cluster.get("-n", namespace, "inferencepools.fairlead.dev")["items"] == []


def test_defaults_are_filled_in_by_the_api_server(cluster: Cluster, namespace: str) -> None:
    cluster.apply(QUICKSTART, namespace)
    spec = cluster.get("-n", namespace, "fpool", "chat")["spec"]
    assert spec["replicas"] == 1
    assert spec["classes"] == [{"name": "default", "default": True}]
    assert spec["router"]["service"] == {"type": "ClusterIP", "port": 80}
    assert spec["router"]["timeouts"] == {"connect": "2s", "firstByte": "120s", "interToken": "60s", "total": "30m"}


def test_the_operator_parses_what_the_api_server_stored(cluster: Cluster, namespace: str) -> None:
    cluster.apply(QUICKSTART, namespace)
    stored = cluster.get("-n", namespace, "fpool", "chat")["spec"]
    assert parse_spec(stored) == parse_spec(QUICKSTART["spec"])


def test_the_scale_subresource_changes_the_replicas(cluster: Cluster, namespace: str) -> None:
    cluster.apply(QUICKSTART, namespace)
    cluster.kubectl("-n", namespace, "scale", "fpool/chat", "--replicas=3")
    assert cluster.get("-n", namespace, "fpool", "chat")["spec"]["replicas"] == 3


def test_the_table_shows_ready_desired_phase_model_and_age(cluster: Cluster, namespace: str) -> None:
    cluster.apply(QUICKSTART, namespace)
    plain = cluster.kubectl("-n", namespace, "get", "fpool").stdout.splitlines()[0].split()
    wide = cluster.kubectl("-n", namespace, "get", "fpool", "-o", "wide").stdout.splitlines()[0].split()
    assert plain == ["NAME", "READY", "DESIRED", "PHASE", "MODEL", "AGE"]
    assert set(wide) - set(plain) == {"ENGINE", "IMAGE"}


def test_explain_describes_every_field(cluster: Cluster) -> None:
    text = cluster.kubectl("explain", "inferencepools.fairlead.dev.spec", "--recursive").stdout
    assert "classes" in text
    assert "timeouts" in text


def test_a_manifest_in_json_survives_a_round_trip(cluster: Cluster, namespace: str) -> None:
    cluster.apply(QUICKSTART, namespace)
    stored = cluster.get("-n", namespace, "fpool", "chat")
    again = cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(QUICKSTART)).stdout
    assert "unchanged" in again
    assert cluster.get("-n", namespace, "fpool", "chat")["metadata"]["generation"] == stored["metadata"]["generation"]
