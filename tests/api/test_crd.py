"""What the real API server accepts, defaults and refuses."""

import json
from typing import Any

import pytest
from bad_manifests import BAD, QUICKSTART, changed
from control_plane import Cluster

from fairlead_operator.api.pool import parse_spec


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
    assert spec["classes"] == [{"name": "default", "priority": 0, "onUnreachable": "reject", "default": True}]
    assert spec["router"]["queue"] == {"maxRequests": 5000, "maxBytes": "1Gi", "maxWait": "60s"}
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
