"""Put a router together, in one process or in several, and run it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click

from fairlead_router.app import admin_app
from fairlead_router.config import AccessLog, PolicyName, RouterConfig, StaticEndpoint, one_line
from fairlead_router.data_path import DataPath
from fairlead_router.deadlines import Deadlines
from fairlead_router.discovery.engine_telemetry import follow_engines
from fairlead_router.discovery.static import StaticDiscovery
from fairlead_router.files import follow_file
from fairlead_router.following import Following
from fairlead_router.router import Router
from fairlead_router.server import announce, serve, serving_admin, stop_on_signals
from fairlead_router.upstream.pool import Pool

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
    workers: int
    log_level: str

    def override(self, config: RouterConfig) -> RouterConfig:
        """Return the configuration with what the command line says instead."""
        access_log = AccessLog() if self.access_log and config.access_log is None else None
        said = {"policy": self.policy, "endpoints": self.endpoints, "access_log": access_log}
        return config.model_copy(update={name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Listeners:
    """Bound sockets: of the data port, which several workers bind again, and of the admin port."""

    data: socket.socket
    admin: socket.socket

    def ready_line(self, router: Router) -> str:
        """Return what is printed when the router is ready."""
        (host, port), (_, admin_port) = (each.getsockname()[:2] for each in (self.data, self.admin))
        config, count = router.config, len(router.endpoints())
        return (
            f"fairlead-router ready: {'https' if config.tls else 'http'}://{host}:{port} (admin port {admin_port}, "
            f"pool {config.pool}, policy {config.policy}, {count} endpoint{'' if count == 1 else 's'})"
        )


async def run(options: Options, config: RouterConfig, listeners: Listeners) -> None:
    """Serve until SIGTERM or SIGINT, and until what runs then has ended.

    Raises
    ------
    BadInputError
        The command line cannot be followed.
    ClickException
        A worker cannot even start.

    """
    discover = await _in_kubernetes(options, options.pool) if options.pool else _static(options, config)
    await (_run_alone if options.workers == 1 else _run_workers)(options, config, listeners, discover)


async def _run_alone(options: Options, config: RouterConfig, listeners: Listeners, discover: Discover) -> None:
    router = Router(config)
    async with DataPath(router, random=Random()) as data_path, asyncio.TaskGroup() as tasks:  # noqa: S311 - ids
        discovery = tasks.create_task(discover(router, data_path.pool))
        looking = tasks.create_task(follow_engines(router, data_path.pool))
        await serve(
            router,
            data_path,
            listeners.data,
            (admin_app(router), listeners.admin),
            shutdown_timeout=options.shutdown_timeout,
            on_ready=lambda: click.echo(listeners.ready_line(router)),
        )
        discovery.cancel()
        looking.cancel()


async def _run_workers(options: Options, config: RouterConfig, listeners: Listeners, discover: Discover) -> None:
    # Imported here because a router that is one process does not need it.
    from fairlead_router.workers.supervisor import Serving, Supervisor  # noqa: PLC0415

    host, port = listeners.data.getsockname()[:2]
    supervisor = Supervisor(config, Serving(host, port, options.workers, options.shutdown_timeout, options.log_level))
    router = supervisor.router
    stop = asyncio.Event()
    stop_on_signals(stop, again=supervisor.interrupt)
    async with (
        serving_admin(admin_app(router), listeners.admin),
        _probing(router) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        background = [
            tasks.create_task(discover(router, pool)),
            tasks.create_task(follow_engines(router, pool)),
            tasks.create_task(announce(router, lambda: click.echo(listeners.ready_line(router)))),
        ]
        await supervisor.run(stop)
        for task in background:
            task.cancel()
    if supervisor.failure is not None:
        raise click.ClickException(supervisor.failure)


@contextlib.asynccontextmanager
async def _probing(router: Router) -> AsyncIterator[Pool]:
    """Connect to engines from a process that relays nothing."""
    loop = asyncio.get_running_loop()
    deadlines, following = Deadlines(), Following(router)
    pool = Pool(loop, deadlines, lambda: following.client_tls)
    sweeping = loop.create_task(deadlines.run())
    following.start()
    try:
        yield pool
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await following.aclose()
        await pool.aclose()


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
