"""The pod of one engine, and the revision that names what it is made from.

A pod that somebody other than the operator deletes or evicts was not drained before. So it gets, from its deletion on, what a
drain would have given it: routers see the deletion and send it nothing more, the engine ends what runs there, and the
kubelet waits for all of that. It ends as soon as nothing runs there any more.
"""

import hashlib
import json
import math
from typing import Any

from fairlead_engine.contract import HEALTH_PATH
from fairlead_operator.api.pool import EngineSpec, Pool
from fairlead_operator.plan.commands import engine_command
from fairlead_operator.plan.metadata import metadata, restricted_container, restricted_pod
from fairlead_operator.types import Images, Manifest
from fairlead_router.contract import ENGINE_PORT, Component, Label

VLLM_IMAGE = "vllm/vllm-openai:v0.32.0"
"""The release whose flags and metrics Fairlead is tested against."""

CONTAINER = "engine"

ROUTERS_NOTICE_SECONDS = 3
"""Between a pod's deletion and its engine's SIGTERM, so that every router has seen the deletion and sends no more."""

LAST_SECONDS = 10
"""What an engine gets to abort what still runs and to end, after its shutdown timeout and before SIGKILL."""

DRAINED_GRACE_SECONDS = ROUTERS_NOTICE_SECONDS + 30 + LAST_SECONDS
"""Grace of an engine that has been drained, or has had its `drain.timeout`. Its own would be longer, and a container whose
process does not heed SIGTERM yet, because it still starts, stays for all of it."""

START_SECONDS = 1800
"""Longest start of an engine: weights may have to be downloaded."""

HOME = "/tmp"  # noqa: S108 - an emptyDir of the pod, not a shared directory


def engine_image(engine: EngineSpec, images: Images) -> str:
    """Give the image of an engine: the spec's, or the default of its type."""
    return engine.image or (VLLM_IMAGE if engine.type == "vllm" else images.engine)


def engine_pod(pool: Pool, name: str, images: Images) -> dict[str, Any]:
    """Give the manifest of the pod called `name`."""
    return _manifest(pool, name, images, math.ceil(pool.spec.drain.timeout_seconds))


def mended_pod(pool: Pool, live: Manifest, images: Images) -> dict[str, Any]:
    """Give the manifest that a pod of the current revision is held to: a pod's time to end cannot be changed."""
    shutdown_seconds = live["spec"]["terminationGracePeriodSeconds"] - ROUTERS_NOTICE_SECONDS - LAST_SECONDS
    return _manifest(pool, live["metadata"]["name"], images, shutdown_seconds)


def _manifest(pool: Pool, name: str, images: Images, shutdown_seconds: int) -> dict[str, Any]:
    about = metadata(pool, name, Component.ENGINE)
    about["labels"][Label.REVISION.value] = revision(pool, images)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": _pod_spec(pool, images, shutdown_seconds)}


def revision(pool: Pool, images: Images) -> str:
    """Name what the pool's engine pods are made from: pods of one revision are interchangeable.

    Engines that differ in the time they have to end serve alike: another `drain.timeout` is no reason to replace them.
    """
    spec = _pod_spec(pool, images, shutdown_seconds=0)
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]


def _pod_spec(pool: Pool, images: Images, shutdown_seconds: int) -> dict[str, Any]:
    engine = pool.spec.engine
    anywhere = "0.0.0.0"  # noqa: S104 - a pod's own address
    command, *arguments = engine_command(pool.spec, host=anywhere, port=ENGINE_PORT, shutdown_seconds=shutdown_seconds)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": engine_image(engine, images),
        "imagePullPolicy": images.pull_policy,
        "command": [command],
        "args": arguments,
        "ports": [{"name": "http", "containerPort": ENGINE_PORT, "protocol": "TCP"}],
        # routers read the pods' readiness: two failures in a row take an engine out within four seconds
        "readinessProbe": _probe(period=2, failures=2),
        "startupProbe": _probe(period=2, failures=START_SECONDS // 2),
        "livenessProbe": _probe(period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": ROUTERS_NOTICE_SECONDS}}},
        "securityContext": restricted_container(),
        "env": [{"name": "HOME", "value": HOME}],
        "volumeMounts": [{"name": "tmp", "mountPath": HOME}],
    }
    if resources := engine.resources.model_dump(exclude_none=True, exclude_unset=True):
        container["resources"] = _quantities(resources)
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if engine.type == "vllm":
        _adapt_to_vllm(container, volumes)
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted_pod(),
        "terminationGracePeriodSeconds": ROUTERS_NOTICE_SECONDS + shutdown_seconds + LAST_SECONDS,
        "containers": [container],
        "volumes": volumes,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {Label.POOL.value: pool.name, Label.COMPONENT.value: "engine"}},
            }
        ],
    }


def _adapt_to_vllm(container: dict[str, Any], volumes: list[dict[str, Any]]) -> None:
    """Let vLLM write its caches, name its user and share memory between its processes."""
    container["securityContext"]["readOnlyRootFilesystem"] = False
    container["env"] += [{"name": "USER", "value": "vllm"}, {"name": "HF_HOME", "value": f"{HOME}/huggingface"}]
    container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})


def _probe(*, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": HEALTH_PATH, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 2,
    }


def _quantities(resources: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {kind: {name: str(amount) for name, amount in amounts.items()} for kind, amounts in resources.items()}
