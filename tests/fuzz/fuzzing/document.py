"""Ask for everything that the router's OpenAPI document names, in ways that it allows and in ways that it does not.

schemathesis makes the requests and judges the answers by the document: their status, type and schema, and that nothing
is the server's fault. The router and the mock engine are processes, as users start them.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

BIN: Final = Path(sys.executable).parent
START_SECONDS: Final = 20
ANSWER_SECONDS: Final = 30
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def fuzz_document(examples: int, number: int, say: Callable[[str], None]) -> tuple[int, list[str]]:
    """Send about `examples` requests of every kind to every path; returns how many were sent, and what was wrong."""
    wrongs: list[str] = []
    sent = 0
    with _served() as url, requests.Session() as session:
        for result in schemathesis.openapi.from_url(url + "/openapi.json").get_all_operations():
            operation = result.ok()
            for mode in GenerationMode:
                count, wrong = _ask(operation.as_strategy(generation_mode=mode), url, session, examples, number)
                sent += count
                wrongs += wrong
            say(f"{operation.method.upper()} {operation.path}: {sent} requests so far")
    return sent, wrongs


def _ask(
    strategy: st.SearchStrategy[schemathesis.Case], url: str, session: requests.Session, examples: int, number: int
) -> tuple[int, list[str]]:
    sent, wrongs = 0, set[str]()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy, st.booleans())
    def ask(case: schemathesis.Case, served: bool) -> None:
        nonlocal sent
        sent += 1
        if served and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "mock"
        with _noted(wrongs, case):
            answer = case.call(base_url=url, session=session, timeout=ANSWER_SECONDS)
            case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be asked in a way that is not allowed
        ask()
    return sent, sorted(wrongs)


@contextlib.contextmanager
def _noted(wrongs: set[str], case: Any) -> Iterator[None]:
    try:
        yield
    except (FailureGroup, Failure) as failed:
        wrongs.add(f"{case.method} {case.formatted_path}: {failed}"[:2000])
    except requests.RequestException as error:
        wrongs.add(f"{case.method} {case.formatted_path}: no answer: {error}"[:2000])


@contextlib.contextmanager
def _served() -> Iterator[str]:
    """Run a mock engine and a router before it; gives the router's URL."""
    with contextlib.ExitStack() as stack:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        _start(stack, "fairlead-engine", "--host=127.0.0.1", f"--port={port}", "--time-scale=0.01")
        address = f"127.0.0.1:{port}"
        _until(lambda: requests.get(f"http://{address}/health", timeout=1).ok)
        router = _start(
            stack, "fairlead-router", "--host=127.0.0.1", "--port=0", "--admin-port=0", f"--endpoints={address}"
        )
        assert router.stdout is not None
        url = next(word for word in router.stdout.readline().decode().split() if word.startswith("http://"))
        _until(lambda: requests.get(url + "/v1/models", timeout=1).ok)
        yield url


def _start(stack: contextlib.ExitStack, command: str, *args: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([BIN / command, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stack.enter_context(process)
    stack.callback(process.terminate)
    return process


def _until(works: Callable[[], bool]) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(requests.RequestException):
            if works():
                return
        if time.monotonic() > ends:
            raise TimeoutError(f"not ready within {START_SECONDS} s")
        time.sleep(0.05)
