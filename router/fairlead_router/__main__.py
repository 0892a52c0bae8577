"""The command `fairlead-router`."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, get_args

import click
import prometheus_client
import uvloop
from pydantic import ValidationError

from fairlead_router.app import admin_app
from fairlead_router.config import AccessLog, PolicyName, RouterConfig, StaticEndpoint, one_line
from fairlead_router.contract import ADMIN_PORT, DATA_PORT
from fairlead_router.data_path import DataPath
from fairlead_router.discovery.static import StaticDiscovery
from fairlead_router.files import follow_file
from fairlead_router.following import check_files
from fairlead_router.router import Router
from fairlead_router.server import PortTakenError, bind, serve
from fairlead_router.upstream.pool import Pool

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_EXAMPLES = """
\b
Examples:
  fairlead-router --endpoints http://127.0.0.1:8000,http://127.0.0.1:8001
  fairlead-router --config router.yaml --port 9000 --admin-port 9100
  fairlead-router --pool chat --namespace default
"""


Discover = Callable[[Router, Pool], Coroutine[None, None, None]]
"""Keeps a router's configuration and endpoints up to date, for ever."""


class BadInputError(click.ClickException):
    """A command line that cannot be followed: one line, exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    host: str
    port: int
    admin_port: int
    config_file: Path | None
    endpoints: tuple[StaticEndpoint, ...] | None
    policy: PolicyName | None
    pool: str | None
    namespace: str
    kubeconfig: Path | None
    shutdown_timeout: float
    access_log: bool

    def override(self, config: RouterConfig) -> RouterConfig:
        """Return the configuration with what the command line says instead."""
        access_log = AccessLog() if self.access_log and config.access_log is None else None
        said = {"policy": self.policy, "endpoints": self.endpoints, "access_log": access_log}
        return config.model_copy(update={name: value for name, value in said.items() if value is not None})


def parse_endpoints(text: str) -> tuple[StaticEndpoint, ...]:
    """Parse the value of --endpoints: `http://host:port` or `host:port`, separated by commas.

    Raises
    ------
    BadInputError
        There is none, or one is not an address.

    """
    endpoints = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part.startswith("https://"):
            raise BadInputError(f"--endpoints: {part!r}: engines are reached by http")
        address = part.removeprefix("http://").rstrip("/")
        try:
            endpoints.append(StaticEndpoint(uid=address, address=address))
        except ValidationError as error:
            raise BadInputError(f"--endpoints: {part!r} is not http://host:port or host:port") from error
    if not endpoints:
        raise BadInputError("--endpoints: at least one http://host:port is needed")
    if len({endpoint.uid for endpoint in endpoints}) != len(endpoints):
        raise BadInputError("--endpoints: an address appears twice")
    return tuple(endpoints)


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DATA_PORT, help="Port of the OpenAI API; 0 takes a free one."
)
@click.option("--admin-port", type=click.IntRange(0, 65535), default=ADMIN_PORT, help="Port of /metrics and /admin/v1.")
@click.option("--host", default="0.0.0.0", help="Address to listen on, for both ports.")  # noqa: S104 - it is a server
@click.option(
    "--endpoints",
    metavar="URL,URL",
    callback=lambda _context, _option, value: None if value is None else parse_endpoints(value),
    help="Engines at fixed addresses: http://host:port or host:port.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration file (YAML); followed while it changes.",
)
@click.option(
    "--policy", type=click.Choice(get_args(PolicyName)), help="Routing policy, whatever the configuration says."
)
@click.option("--pool", metavar="NAME", help="Run in Kubernetes for this InferencePool.")
@click.option("--namespace", metavar="NS", help="Namespace of the pool.  [default: the pod's own, else default]")
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How to reach the API server.  [default: in-cluster, else the user's kubeconfig]",
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(min=0),
    default=300.0,
    help="Seconds that running requests get after SIGTERM.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="Least severe messages to log, on stderr.",
)
@click.option("--access-log", is_flag=True, help="Log a line of JSON for every request, on stdout.")
def main(log_level: str, namespace: str | None, **flags: Any) -> None:
    """Route OpenAI requests to the engines of one pool.

    Engines come from --endpoints, from the configuration file, or, with --pool, from the pods of an InferencePool.
    """
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # faults are logged where they are answered
    options = Options(namespace=namespace or _own_namespace(), **flags)
    _check(options)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    config = _first_config(options)
    with ExitStack() as stack:
        try:
            listeners = tuple(stack.enter_context(bind(options.host, p)) for p in (options.port, options.admin_port))
        except PortTakenError as error:
            raise BadInputError(f"{error}; choose another with --port or --admin-port") from error
        except OSError as error:
            raise BadInputError(f"cannot listen on {options.host}: {error.strerror}") from error
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_run(options, config, listeners))


def _check(options: Options) -> None:
    if options.pool is None:
        if options.endpoints is None and options.config_file is None:
            raise BadInputError("where are the engines? Give --endpoints URL,URL or --config FILE or --pool NAME")
        if options.kubeconfig is not None:
            raise BadInputError("--kubeconfig needs --pool NAME")
    elif options.endpoints is not None or options.config_file is not None:
        raise BadInputError(
            "--pool takes engines and configuration from Kubernetes: leave out --endpoints and --config"
        )
    if options.port == options.admin_port != 0:
        raise BadInputError(f"--port and --admin-port are both {options.port}; they must differ")


def _first_config(options: Options) -> RouterConfig:
    """Return the configuration to start with; in Kubernetes the real one comes with the ConfigMap."""
    if options.pool is not None:
        return options.override(RouterConfig(pool=options.pool))
    if options.config_file is None:
        return options.override(RouterConfig())
    try:
        config = options.override(RouterConfig.from_yaml(options.config_file.read_text()))
        check_files(config)
    except (OSError, ValueError) as error:
        raise BadInputError(f"--config {options.config_file}: {one_line(error)}") from error
    return config


def _own_namespace() -> str:
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"


async def _run(options: Options, config: RouterConfig, listeners: tuple[socket.socket, ...]) -> None:
    router = Router(config)
    discover = await _in_kubernetes(options, options.pool) if options.pool else _static(options, config)
    data_path = DataPath(router, random=Random())  # noqa: S311 - ids, not secrets
    async with data_path, asyncio.TaskGroup() as tasks:
        discovery = tasks.create_task(discover(router, data_path.pool))
        data, admin = listeners

        def announce() -> None:
            (host, port), (_, admin_port) = (listener.getsockname()[:2] for listener in listeners)
            count = len(router.endpoints())
            scheme = "https" if router.config.tls else "http"
            click.echo(
                f"fairlead-router ready: {scheme}://{host}:{port} (admin port {admin_port}, pool {router.config.pool}, "
                f"policy {router.config.policy}, {count} endpoint{'' if count == 1 else 's'})"
            )

        await serve(
            router,
            data_path,
            data,
            (admin_app(router), admin),
            shutdown_timeout=options.shutdown_timeout,
            on_ready=announce,
        )
        discovery.cancel()


def _static(options: Options, config: RouterConfig) -> Discover:
    """Return what keeps the router up to date from flags and file."""

    async def discover(router: Router, pool: Pool) -> None:
        async with asyncio.TaskGroup() as tasks:
            discovery = StaticDiscovery(router, pool, tasks)

            def use(config: RouterConfig) -> None:
                router.apply(config)
                discovery.follow(config.endpoints)

            def use_text(text: str) -> None:
                use(options.override(RouterConfig.from_yaml(text)))

            use(config)
            if options.config_file is not None:
                await follow_file(options.config_file, use_text, router.refuse_config)

    return discover


async def _in_kubernetes(options: Options, pool: str) -> Discover:
    """Return what keeps the router up to date from the API server."""
    # Imported here because the client takes memory and time that a router without Kubernetes does not need.
    from fairlead_router.discovery import kubernetes  # noqa: PLC0415

    try:
        configuration = await kubernetes.load_configuration(options.kubeconfig)
    except kubernetes.ConfigException as error:
        raise BadInputError(f"--pool needs an API server: {one_line(error)}") from error

    async def discover(router: Router, _pool: Pool) -> None:
        def use(config: RouterConfig) -> None:
            router.apply(options.override(config))

        following = kubernetes.KubernetesDiscovery(router, pool, options.namespace, use, Random())  # noqa: S311
        await following.run(configuration)

    return discover


if __name__ == "__main__":
    main(prog_name="fairlead-router")
