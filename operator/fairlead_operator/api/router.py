"""The part of `InferencePool` that is about the router; what the router itself is told has the router's own types."""

from typing import Annotated, Literal

from pydantic import Field

from fairlead_router.config import AccessLog, Breaker, Limits, PolicyName, Queue, Retries, Strict, Timeouts, Tracing

SecretName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)]
SecretKey = Annotated[str, Field(pattern=r"^[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", min_length=1, max_length=253)]


class RouterServiceSpec(Strict):
    """The Service in front of the router; its name is the pool's."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="How the Service is reachable."
    )
    port: int = Field(default=80, ge=1, le=65535, description="Port of the Service.")


class KeysSecretRef(Strict):
    """Where the API keys are."""

    name: SecretName = Field(description="Secret in the pool's namespace.")
    key: SecretKey = Field(default="keys.yaml", description="Key of the Secret that holds the file of hashed keys.")


class RouterAuthSpec(Strict):
    """Who may use the pool."""

    secret_ref: KeysSecretRef = Field(description="File of hashed API keys, as `fairlead key` makes it.")


class TlsSecretRef(Strict):
    """Where the certificate is."""

    name: SecretName = Field(description="Secret of type kubernetes.io/tls in the pool's namespace.")


class RouterTlsSpec(Strict):
    """TLS towards clients."""

    secret_ref: TlsSecretRef = Field(description="Certificate and key: tls.crt and tls.key.")
    client_auth: bool = Field(
        default=False,
        description="Clients must show a certificate of an authority in ca.crt of the same Secret (mTLS).",
    )


class RouterSpec(Strict):
    """The router in front of the engines."""

    replicas: int = Field(default=1, ge=1, le=32, description="Router pods; each works alone and takes all requests.")
    workers: int = Field(default=1, ge=1, le=64, description="Processes of each router pod; each can use one core.")
    policy: PolicyName = Field(default="rad", description="How the router chooses an engine for a request.")
    service: RouterServiceSpec = Field(
        default_factory=RouterServiceSpec, description="The Service that clients connect to."
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="What the router waits for, and how long.")
    queue: Queue = Field(default_factory=Queue, description="Requests that wait for an engine.")
    limits: Limits = Field(default_factory=Limits, description="What one client may make the router hold or wait for.")
    retries: Retries = Field(default_factory=Retries, description="When an engine has not answered.")
    breaker: Breaker = Field(default_factory=Breaker, description="Keeping requests off an engine that fails.")
    passthrough: bool = Field(
        default=False, description="Send paths under /v1/ that the router does not know to an engine as they are."
    )
    auth: RouterAuthSpec | None = Field(default=None, description="API keys. Unset: everybody may use the pool.")
    tls: RouterTlsSpec | None = Field(default=None, description="TLS towards clients. Unset: plain HTTP.")
    access_log: AccessLog | None = Field(default=None, description="Access log on standard output. Unset: none.")
    tracing: Tracing | None = Field(default=None, description="OpenTelemetry traces. Unset: none.")
