"""The router's configuration: one typed model, rendered by the operator and read by the router.

The operator writes it into a ConfigMap, `fairlead up` into a file. Both the pool's API and the router validate with
the types below, so what the API server accepts the router can honour.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Convert a duration such as `500ms`, `2s` or `1h30m` to seconds."""
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def _positive(duration: str) -> str:
    if seconds(duration) <= 0:
        raise ValueError(f"must be longer than 0, not {duration!r}; for example 500ms")
    return duration


Duration = Annotated[
    str,
    Field(
        pattern=DURATION_PATTERN,
        max_length=32,
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "duration(self) > duration('0s')", "message": "must be longer than 0, for example 500ms"}
            ]
        },
    ),
    AfterValidator(_positive),
]
"""A positive length of time as Go writes it: `500ms`, `2s`, `1m30s`."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
"""A name in lower-case letters, digits and dashes."""

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._/:]*[A-Za-z0-9])?$", min_length=1, max_length=128)]
"""A model name as clients send it in `model`."""


class Strict(BaseModel):
    """Base of everything that is read from outside: camelCase there, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class ServiceClass(Strict):
    """One service class of the pool's SLO declaration."""

    name: Name = Field(description="Name of the class; clients choose it by the header x-slo-class.")
    ttft: Duration | None = Field(
        default=None, description="Limit on the time to first token (TTFT). Unset: no limit, every TTFT is good."
    )
    tbt: Duration | None = Field(
        default=None,
        description="Limit on the time between tokens (TBT), the gap between two chunks of one stream that carry "
        "tokens. Unset: no limit.",
    )
    default: bool = Field(
        default=False,
        description="Requests without the header x-slo-class belong to this class. At most one class; "
        "with none, the first class is the default.",
    )


def check_classes(classes: Sequence[ServiceClass]) -> None:
    """Refuse a declaration in which a class is not found by its name, or two are the default.

    Raises
    ------
    ValueError
        The message says what is wrong with `classes`.

    """
    names = [service_class.name for service_class in classes]
    if len(set(names)) != len(names):
        raise ValueError(f"classes: every name must be unique, not {names}")
    if sum(service_class.default for service_class in classes) > 1:
        raise ValueError("classes: at most one class may have default: true")


class Timeouts(Strict):
    """Limits on what the router waits for."""

    connect: Duration = Field(default="2s", description="Opening a connection to an engine.")
    first_byte: Duration = Field(
        default="120s",
        description="Of a streamed answer: from placing the request to the first byte of its body. An answer that is "
        "not streamed has its first byte after its last token; only total limits it.",
    )
    inter_token: Duration = Field(default="60s", description="Longest silence of an engine inside its answer.")
    total: Duration = Field(default="30m", description="The whole request.")


PolicyName = Literal["least-loaded", "round-robin"]


class StaticEndpoint(Strict):
    """An engine at a fixed address, for a router that runs without Kubernetes."""

    uid: str = Field(min_length=1, description="Identity of the engine; a restarted engine gets another one.")
    address: str = Field(pattern=r"^[^/\s]+:[0-9]+$", description="host:port of the engine.")
    draining: bool = Field(default=False, description="Send no new request to it.")


class RouterConfig(Strict):
    """Everything that decides how a router treats requests."""

    pool: str = Field(default="local", min_length=1, description="Name of the pool: label `pool` of every metric.")
    models: tuple[ModelName, ...] = Field(
        default=(),
        description="Names under which the model is served. Empty: every name goes to the engines, which then refuse "
        "the ones they do not know.",
    )
    classes: tuple[ServiceClass, ...] = Field(
        default=(ServiceClass(name="default", default=True),), min_length=1, description="The SLO declaration."
    )
    policy: PolicyName = Field(default="least-loaded", description="How an engine is chosen for a request.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="What the router waits for, and how long.")
    endpoints: tuple[StaticEndpoint, ...] = Field(
        default=(), description="Engines at fixed addresses. In Kubernetes the router watches its pool's pods instead."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        check_classes(self.classes)
        uids = [endpoint.uid for endpoint in self.endpoints]
        if len(set(uids)) != len(uids):
            raise ValueError(f"endpoints: every uid must be unique, not {uids}")
        return self

    @property
    def default_class(self) -> ServiceClass:
        """The class of requests that name none."""
        return next((c for c in self.classes if c.default), self.classes[0])

    def to_yaml(self) -> str:
        """Render the configuration; equal configurations give equal text."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return yaml.safe_dump(document, sort_keys=True, default_flow_style=False)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Parse and validate.

        Raises
        ------
        ValueError
            The text is not YAML, or a field is missing, unknown or out of range; the message names the field.

        """
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML: {error}") from error
        return cls.model_validate({} if document is None else document)


def one_line(error: Exception) -> str:
    """Say what is wrong with a configuration in one line: field, value and what is allowed."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    return "; ".join(_problem(".".join(map(str, each["loc"])), each["msg"], each["input"]) for each in error.errors())


def _problem(field: str, message: str, value: object) -> str:
    message = message.removeprefix("Value error, ")
    if not field:
        return message  # about several fields, which it names itself
    return f"{field}: {message}" + ("" if repr(value) in message else f", not {value!r:.100}")
