"""`fairlead up`, as a user runs it: real processes, real ports, real signals."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from control_plane import eventually
from ports import free_port

ROOT = Path(__file__).parents[3]
MANIFEST = """\
apiVersion: fairlead.dev/v1alpha1
kind: InferencePool
metadata: {name: chat}
spec:
  model: {name: mock}
  engine: {type: mock}
  replicas: 2
"""


def children(pid: int) -> dict[int, str]:
    """The direct children of a process and their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid:
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                continue
    return found


@dataclass
class Up:
    """A running `fairlead up`."""

    process: subprocess.Popen[bytes]
    manifest: Path
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def curl(self) -> list[str]:
        lines = [line for line in self.output.splitlines() if line.startswith("curl ")]
        return shlex.split(lines[0]) if lines else []

    def engines(self) -> list[int]:
        return [pid for pid, command in children(self.process.pid).items() if "fairlead-engine" in command]


def command(manifest: Path, port: int, folder: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("fairlead"))
    ports = ["--port", str(port), "--admin-port", str(free_port())]
    return [program, "up", str(manifest), *ports, "--log-dir", str(folder / "logs")]


@pytest.fixture
def up(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    manifest, log = tmp_path / "pool.yaml", tmp_path / "up.log"
    manifest.write_text(getattr(request, "param", MANIFEST))
    with log.open("wb") as output:
        process = subprocess.Popen(command(manifest, free_port(), tmp_path), stdout=output, stderr=output)
    running = Up(process, manifest, log)
    try:
        eventually(running.curl, "the curl line", seconds=30)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_printed_curl_streams_and_a_signal_leaves_no_process_behind(up: Up, number: signal.Signals) -> None:
    answer = subprocess.run([*up.curl(), "-sS"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert answer.count("data: {") > 10
    assert answer.rstrip().endswith("data: [DONE]")
    started = children(up.process.pid)
    assert len(started) == 3
    up.process.send_signal(number)
    assert up.process.wait(timeout=20) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_an_engine_that_crashes_is_replaced(up: Up) -> None:
    victim, *_ = before = up.engines()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(set(up.engines()) - set(before)) == 1, "another engine")
    assert "ended with code -9" in up.output


def test_an_edited_manifest_is_taken_over(up: Up) -> None:
    up.manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: 3"))
    eventually(lambda: len(up.engines()) == 3, "a third engine")


SLOW = MANIFEST.replace("{type: mock}", "{type: mock, args: [--profile=mistral-7b-rtx6000-ada, --time-scale=3]}")


@pytest.mark.parametrize("up", [SLOW], indirect=True)
def test_an_engine_that_is_to_go_is_stopped_when_its_streams_have_ended(up: Up) -> None:
    command = [*up.curl(), "-sS"]
    streams = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for stream in streams:
            assert stream.stdout is not None
            assert stream.stdout.readline().startswith("data: {")
        up.manifest.write_text(SLOW.replace("replicas: 2", "replicas: 1"))
        eventually(lambda: "draining chat-engine" in up.output, "an engine that drains")
        assert [stream.poll() for stream in streams] == [None] * 4, "they were to run longer"
        answers = [stream.communicate(timeout=60)[0] for stream in streams]
    finally:
        for stream in streams:
            stream.kill()
            stream.communicate()
    assert [answer.rstrip().endswith("data: [DONE]") for answer in answers] == [True] * 4
    assert not any('"error"' in answer for answer in answers)
    eventually(lambda: len(up.engines()) == 1, "one engine")
    assert "nothing runs there any more" in up.output


def test_a_manifest_broken_while_the_pool_runs_changes_nothing_and_is_told(up: Up) -> None:
    engines = up.engines()
    up.manifest.write_text(MANIFEST.replace("replicas: 2", "replicas: many"))
    eventually(lambda: "spec.replicas" in up.output, "the field that is wrong")
    assert up.engines() == engines


def refused(manifest: Path, port: int, folder: Path) -> str:
    done = subprocess.run(command(manifest, port, folder), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    return done.stderr


def test_a_taken_port_is_named_with_the_flag_that_changes_it(tmp_path: Path) -> None:
    manifest = tmp_path / "pool.yaml"
    manifest.write_text(MANIFEST)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(manifest, port, tmp_path) == f"fairlead up: port {port} is taken; choose another with --port\n"


BAD_MANIFESTS = {
    "no pool in it": ("kind: Service", "must hold exactly one InferencePool, found Service"),
    "not YAML": ("a: [", "not YAML"),
    "empty": ("", "found nothing"),
    "another version": (MANIFEST.replace("v1alpha1", "v2"), "apiVersion: must be fairlead.dev/v1alpha1"),
    "a wrong value": (MANIFEST.replace("replicas: 2", "replicas: -1"), "spec.replicas: "),
    "an unknown field": (MANIFEST.replace("replicas", "replica"), "spec.replica: "),
    "two defaults": (
        MANIFEST + "  classes: [{name: a, default: true}, {name: b, default: true}]\n",
        "spec: classes: at most one class may have default: true",
    ),
    "a flag that Fairlead sets": (MANIFEST.replace("{type: mock}", "{type: mock, args: [--port=1]}"), "spec.engine: "),
    "keys from a Secret": (
        MANIFEST + "  router: {auth: {secretRef: {name: keys}}}\n",
        "spec.router.auth: there are no Secrets on this machine",
    ),
    "a certificate from a Secret": (
        MANIFEST + "  router: {tls: {secretRef: {name: tls}}}\n",
        "spec.router.tls: there are no Secrets on this machine",
    ),
    "a program that is missing": (
        MANIFEST.replace("{name: mock}", "{name: m, uri: hf://o/m}").replace("type: mock", "type: vllm"),
        "vllm is not installed here",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_a_bad_manifest_is_refused_before_anything_starts(tmp_path: Path, text: str, message: str) -> None:
    manifest = tmp_path / "pool.yaml"
    manifest.write_text(text)
    assert message in refused(manifest, free_port(), tmp_path)


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "absent.yaml: No such file" in refused(tmp_path / "absent.yaml", free_port(), tmp_path)
