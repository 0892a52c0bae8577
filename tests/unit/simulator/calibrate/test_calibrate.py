"""`fairlead calibrate engine` against a mock engine whose profile is known."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from ports import free_port

from fairlead_engine.profile_file import profile
from fairlead_simulator.calibrate.cli import calibrate

START_SECONDS = 30


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A mock engine of 10 ms and 0.1 ms a token."""
    folder = tmp_path_factory.mktemp("engine")
    known = folder / "known.json"
    known.write_text(json.dumps({"model": "linear", "base_seconds": 0.010, "token_seconds": 1e-4}))
    port = free_port()
    program = str(Path(sys.executable).with_name("fairlead-engine"))
    command = [program, "--model", "mock", "--host", "127.0.0.1", "--port", str(port), "--profile", str(known)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert time.monotonic() < deadline, (folder / "log").read_text()
        yield url
        process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


QUICK = ["--prompt-tokens", "64,128,256,512,2048", "--streams", "1,8", "--context-tokens", "32,256", "--repeats", "3"]


def test_the_profile_of_an_engine_is_found_from_outside(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    arguments = ["engine", engine, "--model", "mock", *QUICK, "--output", str(path), "--json"]
    done = CliRunner().invoke(calibrate, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert len(report["measurements"]) == 9
    truth = {tokens: 0.010 + 1e-4 * tokens for tokens in (64, 512)}
    found = {m["tokens"]: m["predicted_seconds"] for m in report["measurements"] if m["tokens"] in truth}
    for tokens, seconds in truth.items():
        assert found[tokens] == pytest.approx(seconds, rel=0.25)
    assert profile(str(path)) is not None


def test_an_engine_that_does_not_know_the_model_is_reported_in_one_line(engine: str) -> None:
    done = CliRunner().invoke(calibrate, ["engine", engine, "--model", "other", *QUICK])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"fairlead calibrate: {engine}: 404")


def test_an_engine_that_is_not_there_is_reported_in_one_line() -> None:
    done = CliRunner().invoke(calibrate, ["engine", "http://127.0.0.1:9", "--model", "mock", *QUICK])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("numbers", ["", "a", "0", "1,,2"])
def test_a_list_of_numbers_that_is_none_is_refused(numbers: str) -> None:
    done = CliRunner().invoke(calibrate, ["engine", "http://x", "--model", "m", "--streams", numbers])
    assert done.exit_code == 2
    assert "--streams" in done.stderr
