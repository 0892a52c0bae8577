"""The process: `fairlead-engine` as an operator, a user and a kubelet meet it."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairlead_engine.__main__ import command as engine_command
from fairlead_engine.__main__ import main
from fairlead_simulator.replay import replay

DEADLINE_SECONDS = 15


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "fairlead_engine", "--host", "127.0.0.1", *args]


@contextmanager
def running(*args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start an engine on a free port; give the process and its ready line."""
    with subprocess.Popen(
        command("--port", "0", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            if process.poll() is None:
                process.kill()


def until_it_accepts(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_SECONDS).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    pytest.fail("connections were refused until the deadline")


def test_an_engine_says_in_one_line_that_it_is_ready_and_ends_with_0_on_sigterm() -> None:
    with running("--served-model-name", "a", "b", "--engine-id", "e1") as (process, line):
        address = line.split("http://")[1].split()[0]
        assert line.startswith("fairlead-engine e1 serves a, b on http://127.0.0.1:")
        with urllib.request.urlopen(f"http://{address}/health", timeout=DEADLINE_SECONDS) as response:
            assert (response.status, response.headers["x-engine-id"]) == (200, "e1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_sigterm_gives_running_requests_the_shutdown_timeout_and_cuts_them_then() -> None:
    body = b'{"prompt": "x", "max_tokens": 8000, "ignore_eos": true, "stream": true}'
    request = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with running("--time-scale", "10", "--shutdown-timeout", "0.5") as (process, line):
        address = line.split("http://")[1].split()[0].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(request)
            received = connection.recv(65536)
            process.send_signal(signal.SIGTERM)
            stopping = time.monotonic()
            while data := connection.recv(65536):
                received += data
            lasted_seconds = time.monotonic() - stopping
        assert process.wait(DEADLINE_SECONDS) == 0
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert 0.4 < lasted_seconds < 5
    assert b"[DONE]" not in received
    assert not received.endswith(b"0\r\n\r\n")


def test_a_port_in_use_is_one_clear_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            command("--port", str(port)), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
    assert result.returncode == 2
    assert result.stderr.strip() == (
        f"fairlead-engine: --host 127.0.0.1 --port {port}: Address already in use. Choose another."
    )
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--profile", "h900"), "profile 'h900': neither a file nor one of fast, "),
        (("--scheduler", "lifo"), "'lifo' is not one of"),
        (("--scheduler-option", "order"), "--scheduler-option must be NAME=VALUE, not 'order'"),
        (("--scheduler-option", "order=lifo"), "option order must be one of fcfs, spf, priority, not 'lifo'"),
        (("--scheduler-option", "chunk=1"), "scheduler sarathi has no option 'chunk'; its options: order"),
        (
            ("--scheduler", "vllm", "--max-num-batched-tokens", "512"),
            "--max-model-len (8192) allows prompts that never run: this scheduler does not chunk",
        ),
        (("--max-num-seqs", "600"), r"--max-num-batched-tokens (512) must be at least --max-num-seqs (600)"),
        (("--max-num-seqs", "0"), "--max-num-seqs must be at least 1, not 0"),
        (("--num-gpu-blocks", "100"), "--max-model-len (8192 tokens) does not fit into 100 KV blocks"),
        (("--time-scale", "0"), "--time-scale must be a number greater than 0, not 0.0"),
        (("--time-scale", "nan"), "--time-scale must be a number greater than 0, not nan"),
        (("--shutdown-timeout", "-1"), "--shutdown-timeout must be a number of at least 0, not -1.0"),
        (("--max-model-len", "1"), "--max-model-len must be at least 2"),
        (("--engine-id", "b\ned"), "--engine-id must be printable ASCII"),
        (("--port", "eighty"), "'eighty' is not a valid integer"),
        (("--lora-modules", "sql"), "--lora-modules must be NAME=VALUE, not 'sql'"),
        (("--lora-modules", "mock=/x"), "--lora-modules: 'mock' is the name of a served model"),
        (("--fault", "nope"), "--fault nope: unknown fault 'nope'; choose from slow-start, "),
        (("--fault", "error=404"), "--fault error=404: error: the value (a status) must be at least 500"),
        (("--scheduler", "orca", "--enable-prefix-caching"), "--enable-prefix-caching needs paged memory"),
        (("--batch-log", "/no/such/folder/log"), "--batch-log /no/such/folder/log: No such file or directory"),
        (("--no-such-flag",), "No such option"),
        (("--host", "256.0.0.1"), "--host 256.0.0.1"),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--host", "127.0.0.1", *args])
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_crash_ends_the_process_with_the_status_that_was_asked_for() -> None:
    body = b'{"prompt": "x", "max_tokens": 9, "stream": true}'
    request = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with running("--fault", "crash=7,after=2") as (process, line):
        address = line.split("http://")[1].split()[0].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(request)
            received = b""
            while data := connection.recv(65536):
                received += data
        assert process.wait(DEADLINE_SECONDS) == 7
    assert received.count(b"data: ") == 2


def test_connections_are_refused_while_the_engine_starts_slowly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    with subprocess.Popen(
        command("--port", str(port), "--fault", "slow-start=1.2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            until_it_accepts(port)
            assert time.monotonic() - started > 1.2
        finally:
            process.kill()


def test_a_batch_log_of_the_process_replays_to_the_same_batches(tmp_path: Path) -> None:
    log = tmp_path / "batches.jsonl"
    body = b'{"prompt": ["a", "bcdefghij"], "max_tokens": 30, "ignore_eos": true}'
    with running("--batch-log", str(log), "--scheduler", "slai", "--profile", "tiles-128") as (process, line):
        address = line.split("http://")[1].split()[0]
        request = urllib.request.Request(f"http://{address}/v1/completions", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    replayed = replay(log.read_text().splitlines())
    assert replayed.difference is None
    assert (replayed.header.scheduler, replayed.requests) == ("slai", 2)
    assert replayed.batches >= 30


@pytest.mark.parametrize(
    "args",
    [
        ("--served-model-name", "a", "b", "--port", "1"),
        ("--served-model-name", "a", "--served-model-name", "b"),
        ("--port", "1", "--served-model-name", "a", "b"),
        ("--served-model-name=a", "--served-model-name", "b"),
    ],
)
def test_served_model_names_follow_one_flag_or_repeat_it(args: tuple[str, ...]) -> None:
    assert engine_command.make_context("fairlead-engine", list(args)).params["served_model_names"] == ("a", "b")


def test_lora_modules_follow_one_flag_or_repeat_it() -> None:
    args = ["--lora-modules", "sql=/a", "law=/b", "--port", "1"]
    assert engine_command.make_context("fairlead-engine", args).params["lora_modules"] == ("sql=/a", "law=/b")


def test_help_shows_every_flag_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    printed = capsys.readouterr().out
    assert all(parameter.opts[0] in printed for parameter in engine_command.params)
    assert "fairlead-engine --port 8000" in printed
