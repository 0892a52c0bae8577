"""Command lines of the processes that a pool consists of, for pods and for local processes alike."""

from collections.abc import Sequence

from fairlead_engine.contract import (
    HOST_FLAG,
    MODEL_FLAG,
    PORT_FLAG,
    SERVED_MODEL_NAME_FLAG,
    SHUTDOWN_TIMEOUT_FLAG,
)
from fairlead_operator.api.pool import InferencePoolSpec, ModelSpec


def engine_command(spec: InferencePoolSpec, *, host: str, port: int, shutdown_seconds: int) -> list[str]:
    """Give the command line that starts one engine of a pool, listening at `host`:`port`.

    After SIGTERM it ends when what runs there has ended, at the latest after `shutdown_seconds`.
    """
    model = (
        ["vllm", "serve", _weights(spec.model)]
        if spec.engine.type == "vllm"
        else ["fairlead-engine", MODEL_FLAG, spec.model.name]
    )
    served = [SERVED_MODEL_NAME_FLAG, *spec.model.served_names]
    where = [HOST_FLAG, host, PORT_FLAG, str(port), SHUTDOWN_TIMEOUT_FLAG, str(shutdown_seconds)]
    return [*model, *served, *where, *spec.engine.args]


def _weights(model: ModelSpec) -> str:
    """Say where vLLM finds the weights: a repository on the Hugging Face hub or a path in its container."""
    return (model.uri or "").removeprefix("hf://").removeprefix("file://")


def router_command(spec: InferencePoolSpec, arguments: Sequence[str]) -> list[str]:
    """Give the command line that starts a router of a pool."""
    workers = ["--workers", str(spec.router.workers)] if spec.router.workers > 1 else []
    return ["fairlead-router", *arguments, *workers]
