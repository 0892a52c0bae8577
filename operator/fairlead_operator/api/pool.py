"""`InferencePool` v1alpha1: the one typed model of what a user declares.

The CustomResourceDefinition is generated from these types (`crd.py`) and the operator parses with them, so the schema
that the API server enforces and the one the operator relies on cannot drift apart. Rules across fields are CEL
expressions beside the type they are about: the API server refuses what breaks them, with the message given here. Each stands beside
a validator of the same rule, for manifests that no API server has seen (`fairlead up`); one table tests both.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from fairlead_operator.api.drain import DrainSpec
from fairlead_operator.api.engine_facts import engine_facts
from fairlead_operator.api.quantity import quantity
from fairlead_operator.api.rollout import RolloutSpec
from fairlead_operator.api.router import RouterSpec
from fairlead_operator.api.rules import rule, validations
from fairlead_router.config import ModelName, RouterConfig, ServiceClass, Strict, check_classes

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
KIND = "InferencePool"
PLURAL = "inferencepools"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_NAME_LENGTH = 40
"""Leaves room for the suffixes of the pool's children in a DNS label of 63 characters."""

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""A pool names a Service, which must start with a letter."""

RESERVED_ENGINE_FLAGS = ("--model", "--served-model-name", "--host", "--port", "--shutdown-timeout")
"""Set from the spec; the same flag in `engine.args` would contradict it."""


def _is_quantity(value: int | str) -> int | str:
    quantity(str(value))
    return value


Quantity = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maxLength": 20,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
        }
    ),
    AfterValidator(_is_quantity),
]
Argument = Annotated[str, Field(min_length=1, max_length=1024)]
ResourceName = Annotated[str, Field(max_length=253)]


class ModelSpec(Strict):
    """The model that the pool serves."""

    model_config = validations(
        rule("!has(self.aliases) || !(self.name in self.aliases)", "aliases must not repeat the model's name")
    )

    name: ModelName = Field(description="Name under which clients ask for the model.")
    uri: str | None = Field(
        default=None,
        pattern=r"^(hf://[^/\s]+/[^/\s]+|file:///\S+)$",
        max_length=512,
        description="Where the weights are: hf://ORGANISATION/REPOSITORY or file:///PATH in the engine's container. "
        "Required by engine type vllm; the mock engine has no weights.",
    )
    aliases: tuple[ModelName, ...] = Field(
        default=(),
        max_length=16,
        description="Other names for the same model.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )

    @model_validator(mode="after")
    def _aliases_are_other_names(self) -> Self:
        if self.name in self.aliases:
            raise ValueError("aliases must not repeat the model's name")
        if len(set(self.aliases)) != len(self.aliases):
            raise ValueError(f"aliases must be unique, not {list(self.aliases)}")
        return self

    @property
    def served_names(self) -> tuple[str, ...]:
        """Every name under which clients may ask for the model, the main one first."""
        return (self.name, *self.aliases)


class Resources(Strict):
    """Compute resources of one engine, as in a pod."""

    model_config = validations(
        rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || "
            "quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "requests must not exceed limits",
        )
    )

    requests: dict[ResourceName, Quantity] | None = Field(
        default=None, max_length=8, description="What the scheduler sets aside for the engine."
    )
    limits: dict[ResourceName, Quantity] | None = Field(
        default=None, max_length=8, description="What the engine may use at most; GPUs go here: nvidia.com/gpu: 1."
    )

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name, amount in (self.requests or {}).items():
            limit = (self.limits or {}).get(name, amount)
            if quantity(str(amount)) > quantity(str(limit)):
                raise ValueError(f"requests must not exceed limits: {name} {amount} > {limit}")
        return self


class EngineSpec(Strict):
    """The inference engine that runs in each replica."""

    model_config = validations(
        rule(
            "!has(self.args) || !self.args.exists(argument, "
            f"{list(RESERVED_ENGINE_FLAGS)}.exists(flag, argument == flag || argument.startsWith(flag + '=')))",
            f"args must not contain {', '.join(RESERVED_ENGINE_FLAGS)}: Fairlead sets them from the spec",
        )
    )

    type: Literal["mock", "vllm"] = Field(
        description="mock: Fairlead's engine simulator behind vLLM's API, needs no GPU. vllm: vLLM's OpenAI server."
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="Container image. Unset: the default of the engine's type.",
    )
    args: tuple[Argument, ...] = Field(
        default=(),
        max_length=64,
        description="Arguments appended to the engine's command line. Those that Fairlead sets itself "
        f"({', '.join(RESERVED_ENGINE_FLAGS)}) are refused.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    resources: Resources = Field(default_factory=Resources, description="Compute resources of one engine.")

    @model_validator(mode="after")
    def _arguments_do_not_contradict(self) -> Self:
        for argument in self.args:
            if argument.split("=")[0] in RESERVED_ENGINE_FLAGS:
                raise ValueError(f"args must not contain {argument}: Fairlead sets it from the spec")
        return self


DEFAULT_CLASSES = (ServiceClass(name="default", default=True),)


class InferencePoolSpec(Strict):
    """What the user wants: one model, its engines, its SLOs and its router."""

    model_config = validations(
        rule("self.engine.type != 'vllm' || has(self.model.uri)", "model.uri is required by engine.type vllm"),
        rule(
            "self.engine.type != 'mock' || !has(self.model.uri)",
            "model.uri must not be set with engine.type mock, which has no weights",
        ),
        rule(
            "self.classes.filter(c, has(c.default) && c.default).size() <= 1",
            "classes: at most one class may have default: true",
        ),
        rule(
            "self.classes.map(c, has(c.share) ? c.share : 0).sum() <= 100",
            "classes: shares must add up to at most 100",
        ),
    )

    model: ModelSpec = Field(description="The model that the pool serves.")
    engine: EngineSpec = Field(description="The inference engine that runs in each replica.")
    replicas: int = Field(
        default=1, ge=0, le=1000, description="Number of engines; also set by kubectl scale. 0 stops them all."
    )
    classes: tuple[ServiceClass, ...] = Field(
        default=DEFAULT_CLASSES,
        min_length=1,
        max_length=16,
        description="The SLO declaration: service classes with their limits on TTFT and TBT, and who goes first.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    rollout: RolloutSpec = Field(
        default_factory=RolloutSpec, description="How engines are replaced: of an older revision, on a cordoned node."
    )
    drain: DrainSpec = Field(
        default_factory=DrainSpec, description="Engines that are to go: fewer replicas, another revision."
    )
    paused: bool = Field(
        default=False,
        description="The operator creates, changes and deletes nothing of the pool, which goes on serving as it is.",
    )
    router: RouterSpec = Field(default_factory=RouterSpec, description="The router in front of the engines.")

    @model_validator(mode="after")
    def _uri_where_needed(self) -> Self:
        if self.engine.type == "vllm" and self.model.uri is None:
            raise ValueError("model.uri is required by engine.type vllm")
        if self.engine.type == "mock" and self.model.uri is not None:
            raise ValueError("model.uri must not be set with engine.type mock, which has no weights")
        check_classes(self.classes)
        return self

    def router_config(self, pool: str) -> RouterConfig:
        """Give the configuration of the pool's routers, but for files, whose place depends on where they run."""
        router = self.router
        return RouterConfig(
            pool=pool,
            models=self.model.served_names,
            classes=self.classes,
            policy=router.policy,
            timeouts=router.timeouts,
            engine=engine_facts(self.engine.type, self.engine.args),
            queue=router.queue,
            limits=router.limits,
            retries=router.retries,
            breaker=router.breaker,
            passthrough=router.passthrough,
            access_log=router.access_log,
            tracing=router.tracing,
        )


class Pool(Strict):
    """An `InferencePool` as the operator plans for it."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME_LENGTH)
    namespace: str
    uid: str
    generation: int
    spec: InferencePoolSpec


class InvalidPoolError(ValueError):
    """The manifest does not describe a pool; the message names each field, what it holds and what is allowed."""


def parse_spec(document: Any) -> InferencePoolSpec:
    """Parse the `spec` of a manifest.

    Raises
    ------
    InvalidPoolError
        A field is missing, unknown or out of range.

    """
    try:
        return InferencePoolSpec.model_validate(document)
    except ValidationError as error:
        raise InvalidPoolError(describe(error, "spec")) from error


def describe(error: ValidationError, prefix: str) -> str:
    """Say what is wrong with each field, one line a field."""
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join([prefix, *(str(part) for part in problem["loc"])])
        value = problem["input"]
        shown = "" if isinstance(value, dict | list) else f" (found {value!r})"
        lines.append(f"{path}: {problem['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)


def parse_pool(manifest: Any) -> Pool:
    """Parse a whole object as the API server returns it.

    Raises
    ------
    InvalidPoolError
        The spec does not validate.

    """
    metadata = manifest["metadata"]
    return Pool(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=parse_spec(manifest.get("spec")),
    )
