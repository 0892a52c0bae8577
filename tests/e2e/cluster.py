"""Makes the kind cluster of the end-to-end tests and brings our images into it.

Where a Docker engine reaches an image registry, the node is kind's own image; elsewhere `airgap/` makes one from Debian
packages and Go modules. Used by the tests' fixtures and by hand:

    python tests/e2e/cluster.py check | up | images | down
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
AIRGAP = ROOT / "tests" / "e2e" / "airgap"
KIND_CONFIG = ROOT / "tests" / "e2e" / "kind.yaml"
AUDIT_POLICY = ROOT / "tests" / "e2e" / "audit-policy.yaml"
TOOL_CACHE = Path(os.environ.get("FAIRLEAD_KIND_CACHE") or Path.home() / ".cache" / "fairlead-kind") / "bin"
KUBECONFIG = ROOT / ".cache" / "e2e" / "kubeconfig"

NAME = "fairlead-e2e"
NODE = f"{NAME}-control-plane"
BASE_IMAGE = "python:3.11-slim-bookworm"
CONFIG_LABEL = "fairlead.dev/kind-config"
"""Label of the node: hash of what the cluster was made from."""

COMPONENTS = ("engine", "router", "operator")
CLIENT = "e2e-client"
TOOLS = ("docker", "kind", "kubectl", "helm")

Progress = Callable[[str], None]


class MissingError(Exception):
    """This machine cannot run the cluster; the message says what it lacks."""


class CommandError(Exception):
    """A command failed; the message holds its output."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers, and the commands that reach it."""

    environment: Mapping[str, str]
    images: Mapping[str, str]
    """Reference of each component's image in the cluster."""

    def run(self, *command: str, stdin: str | None = None, timeout: float = 180) -> str:
        """Run a command with the cluster's tools and kubeconfig and give its output."""
        return run(*command, environment=self.environment, stdin=stdin, timeout=timeout)


def run(*command: str, environment: Mapping[str, str], stdin: str | None = None, timeout: float = 180) -> str:
    """Run a command from the root of the repository and give what it wrote to stdout.

    Raises
    ------
    CommandError
        It failed or took longer than `timeout` seconds.

    """
    shown = " ".join(command)
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False, **source
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{shown}: no end within {timeout:.0f} s; so far: {error.stdout or b''!r}") from error
    if result.returncode:
        raise CommandError(f"{shown}: exit code {result.returncode}\n{result.stderr}{result.stdout}".rstrip())
    return result.stdout


def succeeds(*command: str, environment: Mapping[str, str], timeout: float = 180) -> bool:
    """Tell whether a command ends well."""
    try:
        run(*command, environment=environment, timeout=timeout)
    except (CommandError, FileNotFoundError):
        return False
    return True


def up(progress: Progress) -> Cluster:
    """Make the cluster unless a healthy one is there, build the images and load them.

    Raises
    ------
    MissingError
        This machine cannot run it.

    """
    environment = tools(progress)
    with timed(progress, f"cluster {NAME}"):
        _ensure_cluster(environment)
    with timed(progress, "images"):
        images = build_images(environment)
        _load(environment, images.values())
    return Cluster(environment, images)


def check() -> bool:
    """Tell whether images can be pulled: False where `airgap/` must make them.

    Raises
    ------
    MissingError
        Neither is possible on this machine.

    """
    if registry_answers(os.environ):
        if lacking := [tool for tool in TOOLS if not shutil.which(tool)]:
            raise MissingError(f"not on PATH: {', '.join(lacking)}")
        return True
    if obstacle := airgap_obstacle():
        raise MissingError(f"no Docker engine that reaches an image registry, and {obstacle}")
    return False


def tools(progress: Progress) -> dict[str, str]:
    """Give the environment in which docker, kind, kubectl and helm work, making them where no registry answers."""
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG), "DOCKER_BUILDKIT": "1"}
    if check():
        return environment
    if not (TOOL_CACHE / "kind").exists():
        progress("no image registry answers: Kubernetes and a node image are built here once, about 12 minutes")
    _airgap_up(environment, progress)
    exported = run("bash", "-c", f'eval "$({AIRGAP}/env)"; env -0', environment=environment)
    return dict(entry.split("=", 1) for entry in exported.split("\0") if entry)


def registry_answers(environment: Mapping[str, str]) -> bool:
    """Tell whether the base image of our Dockerfiles can be pulled; an image that `airgap/` made does not count."""
    made_here = ("docker", "image", "inspect", "fairlead-kind/node-root:bookworm")
    if succeeds(*made_here, environment=environment):
        return False
    return succeeds("docker", "pull", "--quiet", BASE_IMAGE, environment=environment, timeout=120)


def airgap_obstacle() -> str | None:
    """Say what keeps `airgap/` from working on this machine, if anything does."""
    if sys.platform != "linux" or not shutil.which("apt-get"):
        return "this is no Debian, on which a node image can be made"
    if os.geteuid() != 0:
        return "only root can make a node image; run as root, or start a Docker engine that reaches a registry"
    return None


def _airgap_up(environment: Mapping[str, str], progress: Progress) -> None:
    with subprocess.Popen(
        [AIRGAP / "up"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("have "):
                progress(f"airgap: {line.rstrip()}")
    if process.returncode:
        raise MissingError(f"tests/e2e/airgap/up failed: {''.join(lines[-20:])}")


def _ensure_cluster(environment: Mapping[str, str]) -> None:
    config = sha256(KIND_CONFIG.read_bytes() + AUDIT_POLICY.read_bytes()).hexdigest()[:12]
    if NAME in run("kind", "get", "clusters", environment=environment).split():
        if _healthy(environment, config):
            return
        run("kind", "delete", "cluster", "--name", NAME, environment=environment)
    KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
    create = ["kind", "create", "cluster", "--name", NAME, "--config", str(KIND_CONFIG), "--wait", "180s"]
    if image := environment.get("KIND_NODE_IMAGE"):
        create += ["--image", image]
    run(*create, environment=environment, timeout=600)
    run("kubectl", "label", "node", "--all", f"{CONFIG_LABEL}={config}", environment=environment)


def _healthy(environment: Mapping[str, str], config: str) -> bool:
    """Tell whether the cluster's nodes are Ready within a minute and were made from the configuration of today."""
    deadline = time.monotonic() + 60
    ready = (
        "kubectl",
        "wait",
        "--for=condition=Ready",
        "node",
        "--selector",
        f"{CONFIG_LABEL}={config}",
        "--timeout=20s",
    )
    if not succeeds("kind", "export", "kubeconfig", "--name", NAME, environment=environment):
        return False
    while time.monotonic() < deadline:
        if succeeds("kubectl", "get", "--raw", "/readyz", "--request-timeout=5s", environment=environment):
            return succeeds(*ready, environment=environment)
        time.sleep(1)
    return False


def build_images(environment: Mapping[str, str]) -> dict[str, str]:
    """Build every image and give its reference, whose tag is the image's own identity: other content, other tag."""
    images = {component: _build(environment, component, "--target", component, ".") for component in COMPONENTS}
    images[CLIENT] = _build(environment, CLIENT, "--file", "tests/e2e/client/Dockerfile", ".")
    return images


def _build(environment: Mapping[str, str], name: str, *arguments: str) -> str:
    build = ("docker", "build", "--quiet", "--network=host", *arguments)
    identity = run(*build, environment=environment, timeout=900).strip().removeprefix("sha256:")
    reference = f"fairlead/{name}:{identity[:12]}"
    run("docker", "tag", identity, reference, environment=environment)
    return reference


def _load(environment: Mapping[str, str], images: Iterable[str]) -> None:
    present = run(
        "docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "images", "list", "-q", environment=environment
    )
    missing = [image for image in images if f"docker.io/{image}" not in present.split()]
    if missing:
        run("kind", "load", "docker-image", "--name", NAME, *missing, environment=environment, timeout=600)


def down() -> None:
    """Delete the cluster; images and caches stay."""
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
    environment["PATH"] = f"{TOOL_CACHE}:{environment['PATH']}"
    run("kind", "delete", "cluster", "--name", NAME, environment=environment)


@contextmanager
def timed(progress: Progress, what: str) -> Iterator[None]:
    """Say when a long step starts and how long it took."""
    started = time.monotonic()
    progress(f"{what} ...")
    yield
    progress(f"{what}: {time.monotonic() - started:.1f} s")


def main(command: str) -> int:
    """Run one command; 3 means that this machine cannot run the cluster."""

    def say(line: str) -> None:
        print(f"e2e: {line}", flush=True)  # noqa: T201 - a command-line tool

    try:
        match command:
            case "check":
                check()
            case "up":
                up(say)
                say(f"export KUBECONFIG={KUBECONFIG}")
            case "images":
                for component, reference in build_images(tools(say)).items():
                    say(f"{component}: {reference}")
            case "down":
                down()
            case _:
                say("usage: cluster.py check | up | images | down")
                return 2
    except MissingError as error:
        say(f"cannot run here: {error}")
        return 3
    except CommandError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:2] or [""])))
