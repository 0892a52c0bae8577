"""What is measured: each router with the command line that a user would give it, and round robin over the same pods.

Routers run with what they ship with, but for two things: round robin, and logs of errors only where a line per request
is the default. A target that this machine cannot run says why, and is left out.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datapath.peers import NoPeersError, install, pinned_version

KEY = "sk-benchmark"
"""Sent with every request, to all targets; only those of this repository look at it."""
_OWN = Path(sys.executable).parent


class UnavailableError(Exception):
    """A target cannot be measured here; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a router is to run."""

    port: int
    admin_port: int
    pods: tuple[int, ...]
    folder: Path
    """For its configuration."""

    @property
    def pod_urls(self) -> list[str]:
        """Base URLs of the pods."""
        return [f"http://127.0.0.1:{port}" for port in self.pods]


class Target(Protocol):
    """A router that can be measured."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    @property
    def what(self) -> str:
        """What it is, for readers."""

    @property
    def wants_key(self) -> bool:
        """Whether it must refuse requests without a key."""

    @property
    def tells_lag(self) -> bool:
        """Whether its admin port tells how late its event loop is."""

    def prepare(self) -> str:
        """Install what is missing, and return the version. Raises `UnavailableError`."""

    def command(self, site: Site) -> list[str]:
        """Return the command line, and write the configuration that it names."""


@dataclass(frozen=True, slots=True)
class Fairlead:
    """This repository's router."""

    name: str
    what: str
    policy: str = "round-robin"
    workers: int = 1
    wants_key: bool = True
    extra: tuple[str, ...] = ()
    tells_lag: bool = True

    def prepare(self) -> str:
        """Return the version; a flag that the router does not know yet makes the target unavailable."""
        if self.workers > 1 and "--workers" not in _output(_OWN / "fairlead-router", "--help"):
            raise UnavailableError("fairlead-router has no flag --workers yet")
        return _output(_OWN / "python", "-c", "from importlib.metadata import version; print(version('fairlead'))")

    def command(self, site: Site) -> list[str]:
        """Return `fairlead-router` with its shipped defaults and a file of keys, as production has it."""
        ports = ["--host", "127.0.0.1", "--port", str(site.port), "--admin-port", str(site.admin_port)]
        pods = ["--endpoints", ",".join(site.pod_urls), "--policy", self.policy]
        return [str(_OWN / "fairlead-router"), *ports, *pods, *self._workers(), *_keys(site), *self.extra]

    def _workers(self) -> list[str]:
        return ["--workers", str(self.workers)] if self.workers > 1 else []


def _keys(site: Site) -> list[str]:
    keys, config = site.folder / "keys.yaml", site.folder / "router.yaml"
    known = hashlib.sha256(KEY.encode()).hexdigest()
    keys.write_text(f"keys:\n- {{name: bench, hash: 'sha256:{known}'}}\n")
    config.write_text(f"auth: {{keysFile: {keys}}}\n")
    return ["--config", str(config)]


@dataclass(frozen=True, slots=True)
class Package:
    """A router of others that is published as a Python package."""

    name: str
    what: str
    arguments: Callable[[Site], Sequence[str]]
    environment: Path
    wants_key: bool = False
    tells_lag: bool = False

    def prepare(self) -> str:
        """Install the packages of all peers, once."""
        try:
            install(self.environment)
        except NoPeersError as error:
            raise UnavailableError(str(error)) from error
        return pinned_version(self.name)

    def command(self, site: Site) -> list[str]:
        """Return its command line."""
        return [str(self.environment / "bin" / self.name), *self.arguments(site)]


def _vllm_router(site: Site) -> list[str]:
    ports = ["--host", "127.0.0.1", "--port", str(site.port), "--prometheus-port", str(site.admin_port)]
    return [*ports, "--worker-urls", *site.pod_urls, "--policy", "round_robin", "--log-level", "error"]


def _sglang_router(site: Site) -> list[str]:
    ports = ["--host", "127.0.0.1", "--port", str(site.port), "--prometheus-port", str(site.admin_port)]
    return ["launch", *ports, "--worker-urls", *site.pod_urls, "--policy", "round_robin", "--log-level", "error"]


@dataclass(frozen=True, slots=True)
class Nginx:
    """A plain reverse proxy: knows no tokens, and shows what relaying alone costs."""

    name: str = "nginx"
    what: str = "reverse proxy, one worker, buffering off, kept-alive connections to the pods"
    wants_key: bool = False
    tells_lag: bool = False

    def prepare(self) -> str:
        """Return the version of the nginx that the system has."""
        program = _nginx()
        shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
        return shown.rpartition("/")[2].strip()

    def command(self, site: Site) -> list[str]:
        """Return its command line; everything that it writes goes to the folder."""
        temporary = " ".join(f"{name}_temp_path tmp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        servers = " ".join(f"server 127.0.0.1:{port};" for port in site.pods)
        (site.folder / "nginx.conf").write_text(f"""
            worker_processes 1;
            worker_rlimit_nofile 65536;
            pid nginx.pid;
            error_log stderr error;
            events {{ worker_connections 32768; }}
            http {{
                access_log off;
                {temporary}
                upstream pods {{ {servers} keepalive 8192; keepalive_requests 1000000000; }}
                server {{
                    listen 127.0.0.1:{site.port} backlog=4096;
                    keepalive_requests 1000000000;
                    client_max_body_size 64m;
                    client_body_buffer_size 2m;
                    location / {{
                        proxy_pass http://pods;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_buffering off;
                        proxy_read_timeout 1h;
                    }}
                }}
            }}""")
        return [_nginx(), "-e", "stderr", "-p", str(site.folder), "-c", "nginx.conf", "-g", "daemon off;"]


def _nginx() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise UnavailableError("nginx is not installed; on Debian: apt-get install nginx-light")
    return program


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


DIRECT = "direct"
"""No router: the load source talks to the pods. What the measuring side itself can do."""
REFERENCE = "vllm-router"
"""The target that the others are compared with."""
IN_TURN, BY_RESOURCES = "fairlead", "fairlead-rad"
"""What is compared with the reference, which routes in turn as well; and what it costs to look at the pods."""
PROCESSES = "fairlead-2-workers"
"""Compared with one process under its own scenario, and with nothing else: it has two cores."""


def routers(peers: Path, extra: Sequence[str] = ()) -> dict[str, Target]:
    """Return all routers by name; `extra` are further arguments of `fairlead-router`."""
    args = tuple(extra)
    ours = "this repository, shipped defaults (metrics, timeouts, limits, retries, queue) and API keys"
    found: list[Target] = [
        Fairlead(IN_TURN, f"{ours}, round robin", extra=args),
        Fairlead(BY_RESOURCES, f"{ours}, by resources", policy="rad", extra=args),
        Fairlead(PROCESSES, f"{ours}, round robin, two processes", workers=2, extra=args),
        Package("vllm-router", "vLLM's router, in Rust, from PyPI", _vllm_router, peers),
        Package("sglang-router", "SGLang's router, in Rust, from PyPI", _sglang_router, peers),
        Nginx(),
    ]
    return {target.name: target for target in found}


def shown_command(target: Target, folder: Path) -> str:
    """Return the command line as a reader may see it: without ports and places of this machine."""
    site = Site(0, 0, (0, 0), folder)
    words = [word.rpartition("/")[2] if word.startswith("/") else word for word in target.command(site)]
    shown = " ".join(f"'{word}'" if " " in word else word for word in words)
    for separator in (",", " "):
        shown = shown.replace(separator.join(site.pod_urls), "PODS")
    return re.sub(r"(-port) 0\b", r"\1 PORT", shown)
