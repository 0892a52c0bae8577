"""The command `fairlead-router`."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import click
import prometheus_client
import uvloop
from pydantic import ValidationError

from fairlead_router.config import PolicyName, RouterConfig, StaticEndpoint, one_line
from fairlead_router.contract import ADMIN_PORT, DATA_PORT
from fairlead_router.following import check_files
from fairlead_router.process import allow_open_files, set_up_logging
from fairlead_router.run import BadInputError, Listeners, Options, run
from fairlead_router.server import PortTakenError, bind, hold

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_EXAMPLES = """
\b
Examples:
  fairlead-router --endpoints http://127.0.0.1:8000,http://127.0.0.1:8001
  fairlead-router --config router.yaml --port 9000 --admin-port 9100
  fairlead-router --pool chat --namespace default
"""


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
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    help="Processes that serve the port; with more than one, a supervisor and a decider come on top.",
)
@click.option("--access-log", is_flag=True, help="Log a line of JSON for every request, on stdout.")
def main(namespace: str | None, **flags: Any) -> None:
    """Route OpenAI requests to the engines of one pool.

    Engines come from --endpoints, from the configuration file, or, with --pool, from the pods of an InferencePool.
    """
    options = Options(namespace=namespace or _own_namespace(), **flags)
    set_up_logging(options.log_level)
    _check(options)
    allow_open_files()
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    config = _first_config(options)
    with ExitStack() as stack:
        data, admin = (
            stack.enter_context(_bound(bind_it, options.host, port))
            for bind_it, port in ((bind if options.workers == 1 else hold, options.port), (bind, options.admin_port))
        )
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(run(options, config, Listeners(data, admin)))


def _bound(bind_it: Callable[[str, int], socket.socket], host: str, port: int) -> socket.socket:
    try:
        return bind_it(host, port)
    except PortTakenError as error:
        raise BadInputError(f"{error}; choose another with --port or --admin-port") from error
    except OSError as error:
        raise BadInputError(f"cannot listen on {host}: {error.strerror}") from error


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


if __name__ == "__main__":
    main(prog_name="fairlead-router")
