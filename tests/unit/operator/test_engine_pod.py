"""The pod of one engine."""

from typing import Any

import pytest
from pools import IMAGES, a_pool

from fairlead_operator.plan.engine_pod import VLLM_IMAGE, engine_pod, revision
from fairlead_operator.types import Images


def container(**spec: Any) -> dict[str, Any]:
    [only] = engine_pod(a_pool(**spec), "chat-engine-0", IMAGES)["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_a_mock_engine_runs_the_operators_default_image() -> None:
    assert container()["image"] == "fairlead-engine:test"


def test_the_spec_may_name_another_image() -> None:
    assert container(engine={"type": "mock", "image": "mine:1"})["image"] == "mine:1"


def test_the_command_line_of_a_mock_engine() -> None:
    made = container(model={"name": "m", "aliases": ["a"]}, engine={"type": "mock", "args": ["--profile", "fast"]})
    assert made["command"] == ["fairlead-engine"]
    assert made["args"] == [
        *("--model", "m", "--served-model-name", "m", "a"),
        *("--host", "0.0.0.0", "--port", "8000", "--shutdown-timeout", "300", "--profile", "fast"),
    ]


@pytest.mark.parametrize(
    ("uri", "weights"), [("hf://org/model-7b", "org/model-7b"), ("file:///models/7b", "/models/7b")]
)
def test_the_command_line_of_vllm_names_the_weights(uri: str, weights: str) -> None:
    made = container(model={"name": "m", "uri": uri}, engine={"type": "vllm"})
    assert made["image"] == VLLM_IMAGE
    assert (made["command"], made["args"][:4]) == (["vllm"], ["serve", weights, "--served-model-name", "m"])


def test_resources_are_passed_on() -> None:
    limits = {"nvidia.com/gpu": 1, "memory": "64Gi"}
    made = container(engine={"type": "mock", "resources": {"limits": limits}})
    assert made["resources"] == {"limits": {"nvidia.com/gpu": "1", "memory": "64Gi"}}


@pytest.mark.parametrize("engine", ["mock", "vllm"])
def test_the_pod_meets_the_restricted_pod_security_level(engine: str) -> None:
    model = {"name": "m", **({"uri": "hf://o/m"} if engine == "vllm" else {})}
    pod = engine_pod(a_pool(model=model, engine={"type": engine}), "chat-engine-0", IMAGES)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for made in pod["containers"]:
        assert made["securityContext"]["allowPrivilegeEscalation"] is False
        assert made["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_engine_gets_no_credentials_for_the_api_server() -> None:
    assert engine_pod(a_pool(), "chat-engine-0", IMAGES)["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("timeout", "seconds"), [("5m", 300), ("90s", 90), ("1500ms", 2), ("2h", 7200)])
def test_a_pod_that_is_deleted_has_the_time_of_a_drain_and_longer_than_what_happens_in_it(
    timeout: str, seconds: int
) -> None:
    pod = engine_pod(a_pool(drain={"timeout": timeout}), "chat-engine-0", IMAGES)["spec"]
    [made] = pod["containers"]
    notice = made["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert int(made["args"][made["args"].index("--shutdown-timeout") + 1]) == seconds
    assert pod["terminationGracePeriodSeconds"] > notice + seconds


REVISION = revision(a_pool(), IMAGES)


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"name": "other"}},
        {"engine": {"type": "mock", "args": ["--profile", "fast"]}},
        {"engine": {"type": "mock", "image": "x"}},
        {"engine": {"type": "mock", "resources": {"limits": {"cpu": 1}}}},
    ],
)
def test_what_an_engine_is_made_from_makes_another_revision(spec: dict[str, Any]) -> None:
    assert revision(a_pool(**spec), IMAGES) != REVISION


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": 5},
        {"router": {"replicas": 2}},
        {"classes": [{"name": "a", "ttft": "1s"}]},
        {"drain": {"timeout": "1h"}},
    ],
)
def test_what_an_engine_is_not_made_from_keeps_the_revision(spec: dict[str, Any]) -> None:
    assert revision(a_pool(**spec), IMAGES) == REVISION


def test_another_default_image_makes_another_revision() -> None:
    assert revision(a_pool(), Images(engine="newer", router="r")) != REVISION


def test_the_pod_carries_the_revision() -> None:
    labels = engine_pod(a_pool(), "chat-engine-0", IMAGES)["metadata"]["labels"]
    assert labels["fairlead.dev/revision"] == REVISION
