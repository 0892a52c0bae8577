"""The benchmark of the data path, in its shortest form: every scenario as users run it, against the router and none."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documentation import DOCS

from datapath.figures import Cell
from datapath.native import LoadPlan, Pods, Tools, build, load
from datapath.page import page
from datapath.results import ROOT, Results
from datapath.scenarios import SCENARIOS
from datapath.window import write_request

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="pods and load source are C, and there is no compiler"
)
needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark needs two cores")
ALL_CORES = frozenset(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return build(tmp_path_factory.mktemp("bin"))


@pytest.fixture
def pods(tools: Tools) -> Iterator[Pods]:
    mock = Pods(tools.pods, 2, ALL_CORES)
    yield mock
    mock.stop()


def under_load(tools: Tools, ports: tuple[int, ...], request: Path, *, connections: int, tokens: int) -> dict[str, Any]:
    plan = LoadPlan(request, connections, seconds=0.5, warmup_seconds=0.1, tokens=tokens)
    with load(tools.load, plan, ports, ALL_CORES) as running:
        running.wait_for("begin")
        running.wait_for("end")
        return running.wait_for("result")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    output = tmp_path_factory.mktemp("bench") / "results.json"
    command = [sys.executable, "tests/bench/router", "run", "--short"]
    subprocess.run([*command, "--json", output], cwd=ROOT, check=True, timeout=120, capture_output=True)
    return Results.from_json(output.read_text())


def cells(results: Results, scenario: str, target: str) -> list[Cell]:
    return [cell for cell in results.cells if (cell.scenario, cell.target) == (scenario, target)]


@needs_a_compiler
@needs_two_cores
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "workers"])
def test_every_scenario_goes_through_the_router_without_an_error(results: Results, scenario: str) -> None:
    assert not results.failures
    found = cells(results, scenario, "fairlead")
    assert found
    assert [cell.figures["errors"] for cell in found] == [0.0] * len(found)


@needs_a_compiler
@needs_two_cores
@pytest.mark.parametrize(
    ("scenario", "figures"),
    [
        ("requests", {"requests_per_second", "cpu_ms_per_request", "latency_p50_ms", "latency_p99_ms"}),
        ("spread", {"cpu_seconds_per_100k_chunks", "ttft_p50_ms", "ttft_p99_ms", "token_p50_ms", "token_p999_ms"}),
        (
            "bursts",
            {"cpu_seconds_per_100k_chunks", "token_p99_ms", "delivered_share", "pods_late_p99_ms", "lag_p99_ms"},
        ),
        ("rates", {"token_p99_ms", "delivered_share", "measuring_share", "router_share"}),
        ("prompts", {"requests_per_second", "cpu_ms_per_request"}),
    ],
)
def test_every_figure_of_a_scenario_is_measured(results: Results, scenario: str, figures: set[str]) -> None:
    for cell in cells(results, scenario, "fairlead"):
        assert {name for name in figures if cell.figures[name] is None} == set()


@needs_a_compiler
@needs_two_cores
def test_memory_is_measured_idle_and_with_every_stream_open(results: Results) -> None:
    idle, open_streams = cells(results, "memory", "fairlead")
    assert idle.figures["pss_mb"] is not None
    assert idle.figures["pss_mb"] > 1
    assert open_streams.figures["open"] == 20


@needs_a_compiler
@needs_two_cores
def test_direct_shows_what_the_measuring_side_can_do(results: Results) -> None:
    [direct] = cells(results, "requests", "direct")
    [routed] = cells(results, "requests", "fairlead")
    assert direct.figures["router_share"] is None
    assert direct.figures["requests_per_second"] is not None
    assert routed.figures["requests_per_second"] is not None
    assert direct.figures["requests_per_second"] > routed.figures["requests_per_second"]


@needs_a_compiler
@needs_two_cores
def test_results_say_on_what_they_were_measured_and_survive_their_file(results: Results) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", results.commit)
    assert results.machine["cores"] == len(ALL_CORES)
    assert set(results.targets) == {"fairlead"}
    assert Results.from_json(results.to_json()) == results


@needs_a_compiler
@needs_two_cores
def test_a_router_that_does_not_start_is_told_with_its_last_words_and_stops_nothing(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, "tests/bench/router", "run", "--short", "--only", "requests", "--json", output]
    subprocess.run([*command, "--fairlead-args=--sideways"], cwd=ROOT, check=True, timeout=60, capture_output=True)
    results = Results.from_json(output.read_text())
    [failure] = results.failures
    assert failure.startswith("round 1, requests, fairlead: ")
    assert "--sideways" in failure
    assert cells(results, "requests", "direct")


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    command = [sys.executable, "tests/bench/router", "run", "--targets", "envoy"]
    refused = subprocess.run(command, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "'envoy' is not known; known are direct, fairlead," in " ".join(refused.stderr.split())


def test_the_page_is_what_the_file_of_results_renders_to() -> None:
    file = DOCS / "results" / "router-data-path.json"
    assert (DOCS / "performance.md").read_text() == page(Results.from_json(file.read_text())), (
        "run .venv/bin/python tests/bench/router render"
    )


@needs_a_compiler
def test_the_load_source_sees_every_token_of_the_pods(tools: Tools, pods: Pods, tmp_path: Path) -> None:
    pods.pace(200.0)
    request = write_request(tmp_path, prompt_bytes=100, tokens=10)
    seen = under_load(tools, pods.ports, request, connections=4, tokens=10)
    assert sum(seen["errors"].values()) == 0
    assert seen["token_ms"]["count"] == seen["tokens"] > 0
    assert 0 < seen["token_ms"]["p50"] < 100
    assert all(requests > 0 for requests in pods.stats().requests)


@needs_a_compiler
def test_a_stream_with_fewer_tokens_than_asked_for_is_an_error(tools: Tools, pods: Pods, tmp_path: Path) -> None:
    pods.pace(1000.0)
    request = write_request(tmp_path, prompt_bytes=100, tokens=5)
    seen = under_load(tools, pods.ports, request, connections=1, tokens=6)
    assert seen["errors"]["tokens"] > 0
    assert seen["responses"] == 0


CHUNK = b'data: {"choices":[{"delta":{"content":"@%019d,%06d"}}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


GOOD = [CHUNK % (1, 0), CHUNK % (1, 1), b"data: [DONE]\n\n"]


@needs_a_compiler
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HEAD + chunked(*GOOD), None),
        (HEAD + chunked(b"".join(GOOD)), None),
        (HEAD + chunked(*[bytes([byte]) for byte in b"".join(GOOD)]), None),
        (b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n", "status"),
        (HEAD + chunked(GOOD[0], GOOD[2]), "tokens"),
        (HEAD + chunked(GOOD[0], GOOD[0], *GOOD[1:]), "tokens"),
        (HEAD + chunked(GOOD[1], GOOD[0], GOOD[2]), "tokens"),
        (HEAD + chunked(*GOOD[:2]), "unfinished"),
        (HEAD + b"xyz\r\n", "framing"),
        (HEAD + chunked(*GOOD) + b"surplus", "framing"),
        (HEAD + chunked(*GOOD)[:-5], "closed"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "framing"),
    ],
)
def test_what_is_wrong_with_an_answer_is_counted_by_kind(
    tools: Tools, tmp_path: Path, answer: bytes, error: str | None
) -> None:
    request = write_request(tmp_path, prompt_bytes=10, tokens=2)
    plan = LoadPlan(request, 1, seconds=0.2, warmup_seconds=0.0, tokens=2)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        load(tools.load, plan, [server.getsockname()[1]], ALL_CORES) as running,
    ):
        client, _ = server.accept()
        with client:
            assert client.recv(1 << 16) == request.read_bytes()
            client.sendall(answer)
            if error == "closed":
                client.shutdown(socket.SHUT_WR)
            running.wait_for("begin")
            running.wait_for("end")
            seen = running.wait_for("result")
    assert {kind for kind, count in seen["errors"].items() if count} == ({error} if error else set())


@needs_a_compiler
def test_a_pod_survives_a_client_that_speaks_http_2(pods: Pods) -> None:
    with socket.create_connection(("127.0.0.1", pods.ports[0]), timeout=10) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.recv(100) == b""
    with socket.create_connection(("127.0.0.1", pods.ports[0]), timeout=10) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: pod\r\n\r\n")
        head, _, body = client.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(body)["data"][0]["id"] == "bench"
