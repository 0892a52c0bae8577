"""Reach the admin ports of a pool's routers: by their URLs, or in a cluster through its API server.

In a cluster `kubectl` is asked to pass requests on: it is what people have, and knows every way of logging in.
"""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import click

from fairlead_router.contract import ADMIN_PORT, Component, Label

LOCAL_URL: Final = f"http://127.0.0.1:{ADMIN_PORT}"
_SECONDS: Final = 10.0


class AdminError(click.ClickException):
    """A router could not be asked; the message says what to do."""


class Admin(Protocol):
    """One router's admin port."""

    @property
    def name(self) -> str:
        """The router, for tables."""
        ...

    def get(self, path: str) -> bytes:
        """Return what is at a path.

        Raises
        ------
        AdminError
            It cannot be asked, or has an error for an answer.

        """
        ...


@dataclass(frozen=True, slots=True)
class AtUrl:
    """A router that can be reached."""

    url: str

    @property
    def name(self) -> str:
        """Host and port."""
        return self.url.rpartition("//")[2].rstrip("/")

    def get(self, path: str) -> bytes:
        """Return what is at a path, as `Admin.get` promises."""
        url = self.url.rstrip("/") + path
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - checked by `check_url`
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                raise AdminError(f"{url} answers {error.code}: is this the admin port of a Fairlead router?") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise AdminError(f"no router answers at {url} ({reason}); name its admin port with --admin URL") from error


@dataclass(frozen=True, slots=True)
class InCluster:
    """A router's pod, behind the API server of the cluster that kubectl talks to."""

    namespace: str
    pod: str

    @property
    def name(self) -> str:
        """The pod."""
        return self.pod

    def get(self, path: str) -> bytes:
        """Return what is at a path, as `Admin.get` promises."""
        return _kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}:{ADMIN_PORT}/proxy{path}")


def routers_of(pool: str, namespace: str | None) -> list[Admin]:
    """Return the routers of a pool in the cluster.

    Raises
    ------
    AdminError
        kubectl is not there or fails, or the pool has no router that runs.

    """
    selector = f"{Label.POOL}={pool},{Label.COMPONENT}={Component.ROUTER}"
    where = ["--namespace", namespace] if namespace else []
    pods = json.loads(_kubectl("get", "pods", *where, "--selector", selector, "--output", "json"))["items"]
    running = [pod["metadata"] for pod in pods if pod["status"].get("phase") == "Running"]
    if not running:
        raise AdminError(f"the pool {pool!r} has no router that runs in {namespace or 'this namespace'}")
    return [InCluster(pod["namespace"], pod["name"]) for pod in running]


def get_json(admin: Admin, path: str) -> Any:
    """Return the JSON at a path.

    Raises
    ------
    AdminError
        The router cannot be asked, or what answers is no router.

    """
    try:
        return json.loads(admin.get(path))
    except ValueError as error:
        raise AdminError(f"{admin.name}{path} is not JSON: is this the admin port of a Fairlead router?") from error


def check_url(_context: click.Context, _option: click.Parameter, urls: Sequence[str]) -> Sequence[str]:
    """Refuse what is no URL of an admin port."""
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r}: must begin with http:// or https://, as in {LOCAL_URL}")
    return urls


def asks_routers(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which routers to ask, to be read by `chosen`."""
    for option in (
        click.option("--namespace", "-n", metavar="NAME", help="Of the pool.  [default: kubectl's]"),
        click.option("--pool", metavar="NAME", help="Ask the routers of this pool, through kubectl."),
        click.option(
            "--admin",
            "urls",
            metavar="URL",
            multiple=True,
            callback=check_url,
            help=f"Ask the admin port at this URL; may be repeated.  [default: {LOCAL_URL}]",
        ),
    ):
        command = option(command)
    return command


def chosen(urls: Sequence[str], pool: str | None, namespace: str | None) -> list[Admin]:
    """Return the routers that the options name.

    Raises
    ------
    click.UsageError
        They contradict each other.
    AdminError
        The pool's routers cannot be found.

    """
    if pool is not None and urls:
        raise click.UsageError("--pool and --admin exclude each other: name the pool or its routers")
    if pool is not None:
        return routers_of(pool, namespace)
    if namespace is not None:
        raise click.UsageError("--namespace needs --pool")
    return [AtUrl(url) for url in urls or (LOCAL_URL,)]


def _kubectl(*arguments: str) -> bytes:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise AdminError("kubectl is not installed: install it, or forward the admin port and name it with --admin URL")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and kubectl checks its arguments
            [kubectl, *arguments], capture_output=True, check=True, timeout=2 * _SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise AdminError(f"kubectl has not answered within {2 * _SECONDS:g} s") from error
    except subprocess.CalledProcessError as error:
        raise AdminError(f"kubectl: {error.stderr.decode(errors='replace').strip()}") from error
    return done.stdout
