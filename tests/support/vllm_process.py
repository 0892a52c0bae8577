"""Real vLLM on the CPU, and a router, as processes. `tests/vllm/install` installs what is started here."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
INSTALLED = ROOT / ".cache" / "vllm"
START_SECONDS = 300.0
"""vLLM imports for a minute on two cores that nobody else uses."""
STOP_SECONDS = 20.0

MAX_MODEL_LEN = 4096
FLAGS = (
    *("--served-model-name", "tiny", "small"),
    *("--max-model-len", str(MAX_MODEL_LEN)),
    *("--max-num-seqs", "32"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--enable-lora", "--max-loras", "2"),
    "--enforce-eager",
)
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CACHE_ROOT": str(INSTALLED / "root"),
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
EMBEDDING = ("--runner", "pooling", "--convert", "embed")
"""Flags that make of any model one of embeddings: the last token's state is the embedding of a text."""


@dataclass(frozen=True)
class RouterProcess:
    """Where a router listens."""

    url: str
    admin_url: str


@contextlib.contextmanager
def running_vllm(folder: Path, *flags: str) -> Iterator[str]:
    """Run vLLM with the tiny model, and give its address; its log is in the folder."""
    if not (INSTALLED / "installed").exists():
        pytest.fail("vLLM is not installed: run make vllm, or tests/vllm/install once")
    program = INSTALLED / "venv" / "bin" / "vllm"
    command = ["nice", str(program), "serve", str(INSTALLED / "model"), *FLAGS, *flags]
    with _serving(command, folder / "vllm.log", ENVIRONMENT) as url:
        yield url


@contextlib.contextmanager
def running_router(folder: Path, endpoint: str, *flags: str) -> Iterator[RouterProcess]:
    """Run a router in front of one engine; its log is in the folder."""
    admin_port = free_port()
    command = [str(BIN / "fairlead-router"), "--endpoints", endpoint, "--admin-port", str(admin_port), *flags]
    with _serving(command, folder / "router.log") as url:
        yield RouterProcess(url, f"http://127.0.0.1:{admin_port}")


@contextlib.contextmanager
def running_mock(folder: Path, *flags: str) -> Iterator[str]:
    """Run the mock engine, and give its address; its log is in the folder."""
    with _serving([str(BIN / "fairlead-engine"), *flags], folder / "mock.log") as url:
        yield url


@contextlib.contextmanager
def _serving(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server on a free port, and give its address once it is healthy."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with _process([*command, "--host", "127.0.0.1", "--port", str(port)], log, environment or {}) as process:
        _wait_until_healthy(url, process, log)
        yield url


@contextlib.contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for as long as the context is open; nothing that it started outlives it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment, process_group=0
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url + "/health"):
            return
        time.sleep(0.2)
    status = process.poll()
    what = f"is not healthy after {START_SECONDS:g} s" if status is None else f"ended with status {status}"
    pytest.fail(f"{process.args} {what}; its log ends:\n{log.read_text()[-2000:]}", pytrace=False)
