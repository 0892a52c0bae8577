"""The router's configuration: one typed model, rendered by the operator and read by the router.

The operator writes it into a ConfigMap, `fairlead up` into a file. Both the pool's API and the router validate with
the types below, so what the API server accepts the router can honour.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from fairlead_router.contract import Role

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZE_PATTERN = r"^[1-9][0-9]*([kMGT]|[KMGT]i)?$"
_UNIT_BYTES: Mapping[str, int] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("kMGT", start=1)},
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGT", start=1)},
}


def seconds(duration: str) -> float:
    """Convert a duration such as `500ms`, `2s` or `1h30m` to seconds."""
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def size_bytes(size: int | str) -> int:
    """Convert a size such as `65536`, `64Ki` or `1Gi` to bytes."""
    number = str(size).rstrip("kKMGTi")
    return int(number) * _UNIT_BYTES[str(size).removeprefix(number)]


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


def _is_size(size: int | str) -> int | str:
    if re.fullmatch(SIZE_PATTERN, str(size)) is None:
        raise ValueError(f"not a size: {size!r}; for example 65536, 64Ki or 1Gi")
    return size


Size = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 1,
            "maxLength": 20,
            "pattern": SIZE_PATTERN,
        }
    ),
    AfterValidator(_is_size),
]
"""A number of bytes as Kubernetes writes it: `65536`, `64Ki`, `1Gi`."""

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
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Where requests have to wait for an engine, classes of higher priority are served first.",
    )
    share: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Percent of the tokens that the class gets at least while its requests wait, whatever the priority of "
        "others. Unset: no guarantee. All shares of a pool add up to at most 100.",
    )
    on_unreachable: Literal["reject", "queue"] = Field(
        default="reject",
        description="What becomes of a request whose TTFT limit cannot be met. reject: it is refused at once, with 429 and "
        "Retry-After. queue: it waits behind those whose limits can be met.",
    )
    default: bool = Field(
        default=False,
        description="Requests without the header x-slo-class belong to this class. At most one class; "
        "with none, the first class is the default.",
    )


def check_classes(classes: Sequence[ServiceClass]) -> None:
    """Refuse a declaration in which a class is not found by its name, two are the default, or shares are too large.

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
    shares = {service_class.name: service_class.share for service_class in classes if service_class.share is not None}
    if sum(shares.values()) > 100:
        said = " + ".join(f"{share} ({name})" for name, share in shares.items())
        raise ValueError(f"classes: shares must add up to at most 100, not {said}; lower them or leave some out")


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


class Queue(Strict):
    """Requests that no engine has room for, of all processes of a router together."""

    max_requests: int = Field(
        default=5000, ge=1, le=1_000_000, description="Requests that wait at one time; beyond it requests get 429."
    )
    max_bytes: Size = Field(
        default="1Gi", description="Bodies of the requests that wait, together; beyond it requests get 429."
    )
    max_wait: Duration = Field(default="60s", description="Longest wait of a request, then 429.")


class Limits(Strict):
    """What one client may make the router hold or wait for."""

    body_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Largest request body; a larger one is refused with 413."
    )
    buffered_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bodies held at one time, of all requests of a process together; beyond it requests get 503.",
    )
    json_depth: int = Field(default=128, ge=8, le=1000, description="Deepest nesting of a JSON body.")
    header_bytes: int = Field(default=64 * 1024, ge=1024, description="Largest request head; a larger one gets 431.")
    connections: int = Field(
        default=20_000, ge=1, description="Client connections of a process; beyond it a new one gets 503 and is closed."
    )
    header_timeout: Duration = Field(
        default="15s", description="From the first byte of a request's head to its last, else 408."
    )
    body_timeout: Duration = Field(default="60s", description="Longest silence of a client inside its body, else 408.")
    send_timeout: Duration = Field(
        default="5m", description="Longest time in which a client takes none of the bytes that wait for it."
    )
    keep_alive: Duration = Field(
        default="75s",
        description="How long an idle connection of a client is kept; longer than the pools of usual clients keep "
        "theirs, so that the client closes first.",
    )


class Retries(Strict):
    """Sending a request to another engine when one has not answered it."""

    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="Engines that a request is sent to before it is given up: one that kills engines must not kill "
        "them all.",
    )
    budget: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Retries allowed per request in the long run (on top of ten at once), so that a failing pool is "
        "not sent a multiple of its load.",
    )
    backoff: Duration = Field(
        default="25ms", description="Mean wait before the first retry; doubles with each, and is jittered fully."
    )


class Breaker(Strict):
    """Circuit breaker of each engine."""

    failures: int = Field(
        default=5, ge=1, description="Failures in a row after which an engine gets no request while there is another."
    )
    open_for: Duration = Field(
        default="5s",
        description="How long; then one request tries the engine. Doubles with every failed trial, up to a minute.",
    )


class Auth(Strict):
    """Who may use the router."""

    keys_file: str = Field(
        min_length=1, description="File of hashed API keys (YAML); followed while it changes. See `fairlead key`."
    )


class Tls(Strict):
    """TLS towards clients."""

    certificate: str = Field(min_length=1, description="File of the certificate chain (PEM); followed.")
    key: str = Field(min_length=1, description="File of the private key (PEM); followed.")
    client_ca: str | None = Field(
        default=None, description="File of authorities (PEM): clients must show a certificate of one of them (mTLS)."
    )


class EngineTls(Strict):
    """TLS towards engines."""

    ca: str | None = Field(default=None, description="File of authorities (PEM) for engines. Unset: the system's.")
    certificate: str | None = Field(default=None, description="File of the router's own certificate (PEM), for mTLS.")
    key: str | None = Field(default=None, description="File of its private key (PEM).")
    server_name: str | None = Field(
        default=None, description="Name that engines' certificates must have. Unset: the engine's address."
    )

    @model_validator(mode="after")
    def _certificate_and_key_go_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("engineTls: certificate and key go together: set both, or neither")
        return self


class AccessLog(Strict):
    """One line of JSON for every request."""

    sample: float = Field(default=1.0, gt=0.0, le=1.0, description="Share of the good requests that get a line.")


class Tracing(Strict):
    """OpenTelemetry traces; needs the extra `tracing`."""

    endpoint: str = Field(pattern=r"^https?://", description="OTLP/HTTP endpoint, such as http://collector:4318.")
    sample: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Share of traces begun here; a caller's decision is followed."
    )


PolicyName = Literal[
    "rad", "least-request", "round-robin", "random", "power-of-two", "least-kv", "prefix-hash", "lmetric"
]


class StaticEndpoint(Strict):
    """An engine at a fixed address, for a router that runs without Kubernetes."""

    uid: str = Field(min_length=1, description="Identity of the engine; a restarted engine gets another one.")
    address: str = Field(pattern=r"^[^/\s]+:[0-9]+$", description="host:port of the engine.")
    draining: bool = Field(default=False, description="Send no new request to it.")
    revision: str = Field(default="", description="What it is made from, for `canary`.")
    role: Role = Field(default=Role.BOTH, description="An engine for prefill only gets no requests of users.")


class Canary(Strict):
    """Engines of a new revision that are tried with a share of the requests."""

    revision: str = Field(min_length=1, description="Revision of these engines.")
    weight: int = Field(ge=0, le=100, description="Percentage of the requests that they get.")


EnginePriority = Literal["none", "lower-first", "higher-first"]


class Engine(Strict):
    """What an engine of the pool can do, where it does not say it itself."""

    max_num_seqs: int | None = Field(
        default=None, ge=1, description="Requests that run at a time. Unset: what is usual."
    )
    batch_tokens: int | None = Field(
        default=None, ge=1, description="Token budget of a batch, prompts and decodes together. Unset: what is usual."
    )
    priority: EnginePriority = Field(
        default="none",
        description="Whether engines order what waits in them by the field `priority` of a request, and which comes first. "
        "none: they are not told.",
    )


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
    canary: Canary | None = Field(default=None, description="A revision that is tried. Unset: none.")
    engine: Engine = Field(default_factory=Engine, description="What an engine can do.")
    policy: PolicyName = Field(default="rad", description="How an engine is chosen for a request.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="What the router waits for, and how long.")
    queue: Queue = Field(default_factory=Queue, description="Requests that wait for an engine.")
    limits: Limits = Field(default_factory=Limits, description="What a client may make the router hold or wait for.")
    retries: Retries = Field(default_factory=Retries, description="When an engine has not answered.")
    breaker: Breaker = Field(default_factory=Breaker, description="Keeping requests off an engine that fails.")
    passthrough: bool = Field(
        default=False, description="Send paths under /v1/ that the router does not know to an engine as they are."
    )
    auth: Auth | None = Field(default=None, description="API keys. Unset: everybody may use the router.")
    tls: Tls | None = Field(default=None, description="TLS towards clients. Unset: plain HTTP.")
    engine_tls: EngineTls | None = Field(default=None, description="TLS towards engines. Unset: plain HTTP.")
    access_log: AccessLog | None = Field(default=None, description="Access log on stdout. Unset: none.")
    tracing: Tracing | None = Field(default=None, description="Traces. Unset: none.")
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
