"""Manifests that must be refused, by the API server and by `fairlead up` alike."""

import copy
from typing import Any

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
    ("spec.drain.timeout", "0s", "spec.drain.timeout", "must be longer than 0"),
    ("spec.drain.timeout", "soon", "spec.drain.timeout", "should match"),
    ("spec.rollout", {"maxSurge": 0}, "spec.rollout", "must not both be 0"),
    ("spec.rollout.maxSurge", -1, "spec.rollout.maxSurge", "greater than or equal to 0"),
    ("spec.paused", "maybe", "spec.paused", "must be of type boolean"),
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
    ("spec.classes", [{"name": "a", "priority": "high"}], "spec.classes[0].priority", "must be of type integer"),
    ("spec.classes", [{"name": "a", "priority": 1001}], "spec.classes[0].priority", "less than or equal to 1000"),
    ("spec.classes", [{"name": "a", "share": 0}], "spec.classes[0].share", "greater than or equal to 1"),
    ("spec.classes", [{"name": "a", "share": 101}], "spec.classes[0].share", "less than or equal to 100"),
    (
        "spec.classes",
        [{"name": "a", "share": 60}, {"name": "b", "share": 50}],
        "spec",
        "shares must add up to at most 100",
    ),
    ("spec.classes", [{"name": "a", "onUnreachable": "wait"}], "spec.classes[0].onUnreachable", '"reject", "queue"'),
    ("spec.router.queue", {"maxRequests": 0}, "spec.router.queue.maxRequests", "greater than or equal to 1"),
    ("spec.router.queue", {"maxBytes": "much"}, "spec.router.queue.maxBytes", "should match"),
    ("spec.router.queue", {"maxBytes": 0}, "spec.router.queue.maxBytes", "greater than or equal to 1"),
    ("spec.router.queue", {"maxWait": "0s"}, "spec.router.queue.maxWait", "must be longer than 0"),
    ("spec.router.replicas", 0, "spec.router.replicas", "greater than or equal to 1"),
    ("spec.router.policy", "fastest", "spec.router.policy", 'supported values: "rad", "least-request", "round-robin"'),
    ("spec.router.service", {"type": "ExternalName"}, "spec.router.service.type", "supported values"),
    ("spec.router.service", {"port": 65536}, "spec.router.service.port", "less than or equal to 65535"),
    ("spec.router.timeouts", {"connect": "-1s"}, "spec.router.timeouts.connect", "should match"),
    ("spec.router.timeouts", {"firstByte": "1d"}, "spec.router.timeouts.firstByte", "should match"),
    ("spec.router.workers", 0, "spec.router.workers", "greater than or equal to 1"),
    ("spec.router.workers", 65, "spec.router.workers", "less than or equal to 64"),
    ("spec.router.limits", {"bodyBytes": 10}, "spec.router.limits.bodyBytes", "greater than or equal to 1024"),
    ("spec.router.limits", {"jsonDepth": 2000}, "spec.router.limits.jsonDepth", "less than or equal to 1000"),
    ("spec.router.limits", {"keepAlive": "0s"}, "spec.router.limits.keepAlive", "must be longer than 0"),
    ("spec.router.retries", {"budget": 1.5}, "spec.router.retries.budget", "less than or equal to 1"),
    ("spec.router.breaker", {"failures": 0}, "spec.router.breaker.failures", "greater than or equal to 1"),
    ("spec.router.passthrough", "yes please", "spec.router.passthrough", "must be of type boolean"),
    ("spec.router.auth", {}, "spec.router.auth.secretRef", "Required value"),
    ("spec.router.auth", {"secretRef": {}}, "spec.router.auth.secretRef.name", "Required value"),
    ("spec.router.auth", {"secretRef": {"name": "My Keys"}}, "spec.router.auth.secretRef.name", "should match"),
    ("spec.router.auth", {"secretRef": {"name": "a", "key": "../x"}}, "spec.router.auth.secretRef.key", "should match"),
    ("spec.router.tls", {}, "spec.router.tls.secretRef", "Required value"),
    ("spec.router.tls", {"clientAuth": True}, "spec.router.tls.secretRef", "Required value"),
    ("spec.router.accessLog", {"sample": 0}, "spec.router.accessLog.sample", "greater than 0"),
    ("spec.router.tracing", {}, "spec.router.tracing.endpoint", "Required value"),
    ("spec.router.tracing", {"endpoint": "collector:4318"}, "spec.router.tracing.endpoint", "should match"),
    ("spec.replica", 3, "spec.replica", "unknown field"),
    ("spec.engine.arguments", [], "spec.engine.arguments", "unknown field"),
    ("metadata.name", "x" * 41, "metadata.name", "at most 40 characters"),
    ("metadata.name", "1chat", "metadata.name", "must start with a letter"),
    ("metadata.name", "my.chat", "metadata.name", "only lower-case letters, digits and dashes"),
]
