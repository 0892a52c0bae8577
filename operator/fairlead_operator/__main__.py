"""`fairlead-operator`: runs the operator in a cluster, or against one from outside."""

import asyncio
import logging
import sys
from pathlib import Path

import click
from kubernetes.aio.config import ConfigException

from fairlead_operator import handlers
from fairlead_operator.contract import HEALTH_PORT
from fairlead_operator.kube.lease import LeaseLostError
from fairlead_operator.run import Settings, run
from fairlead_operator.types import Images


@click.command(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FAIRLEAD_OPERATOR"})
@click.option(
    "--namespace", "namespaces", multiple=True, help="Care for this namespace only; repeatable. Default: all."
)
@click.option("--engine-image", required=True, help="Image of engines of type mock that name none.")
@click.option("--router-image", required=True, help="Image of the routers.")
@click.option(
    "--image-pull-policy",
    type=click.Choice(["IfNotPresent", "Always", "Never"]),
    default="IfNotPresent",
    show_default=True,
    help="Pull policy of engine and router containers.",
)
@click.option("--lease-namespace", help="Namespace of the leader-election Lease. Default: no leader election.")
@click.option("--kubeconfig", type=click.Path(path_type=Path, exists=True), help="How to reach a cluster from outside.")
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    default=HEALTH_PORT,
    show_default=True,
    help="Port of /metrics, /health and /ready.",
)
@click.option(
    "--resync-seconds",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Interval at which everything is listed anew, should an event have been missed.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least severe messages to log, on stderr.",
)
@click.version_option(package_name="fairlead")
def main(  # noqa: PLR0913, PLR0917 - one parameter a flag
    namespaces: tuple[str, ...],
    engine_image: str,
    router_image: str,
    image_pull_policy: str,
    lease_namespace: str | None,
    kubeconfig: Path | None,
    health_port: int,
    resync_seconds: float,
    log_level: str,
) -> None:
    """Run the Fairlead operator: it brings every InferencePool to its spec, and keeps it there.

    In a cluster it uses its pod's ServiceAccount. From outside, for development:

    \b
      fairlead-operator --kubeconfig ~/.kube/config \\
          --engine-image fairlead-engine:dev --router-image fairlead-router:dev

    Each flag can also be given as an environment variable: --engine-image is FAIRLEAD_OPERATOR_ENGINE_IMAGE.
    """  # noqa: D301 - click wants the control character
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    handlers.quiet_logs()
    settings = Settings(
        images=Images(engine=engine_image, router=router_image, pull_policy=image_pull_policy),
        namespaces=namespaces,
        kubeconfig=kubeconfig,
        lease_namespace=lease_namespace,
        health_port=health_port,
        resync_seconds=resync_seconds,
    )
    try:
        asyncio.run(run(settings))
    except LeaseLostError as error:
        sys.exit(f"fairlead-operator: {error}; stopping, another operator may be active")
    except ConfigException as error:
        click.echo(f"fairlead-operator: no cluster to connect to: {error}; give --kubeconfig FILE", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"fairlead-operator: {error}; choose another port with --health-port", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
