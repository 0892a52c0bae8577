"""`fairlead simulate fleet`: what it prints, what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairlead_simulator.cli import simulate

QUICK = ["--pods", "2", "--seconds", "3", "--qps", "4", "--jobs", "1"]
POOL = """
apiVersion: fairlead.dev/v1alpha1
kind: InferencePool
spec:
  classes:
  - {name: interactive, ttft: 500ms, tbt: 100ms, priority: 100, share: 60}
  - {name: batch, ttft: 30s, share: 40, onUnreachable: queue, default: true}
"""
WORKLOAD = """
streams:
- {class: interactive, share: 3, lengths: "fixed:100,20", tenants: {a: 1, b: 2}}
- {class: batch, share: 1, lengths: "fixed:500,50", arrivals: "mmpp:ratio=3"}
"""


def run(*args: str) -> Result:
    return CliRunner().invoke(simulate, ["fleet", *args])


def document(*args: str) -> Any:
    done = run("--json", *args)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "pool.yaml").write_text(POOL)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    return ["--classes", str(tmp_path / "pool.yaml"), "--workload", str(tmp_path / "workload.yaml")]


def test_json_names_every_run_and_every_class(files):
    found = document(*QUICK, *files, "--policy", "rad,random+slai", "--seeds", "2")
    assert found["capacity"] is None
    assert [(each["policy"], each["seed"]) for each in found["runs"]] == [
        ("rad", 42), ("rad", 43), ("random+slai", 42), ("random+slai", 43),
    ]  # fmt: skip
    first = found["runs"][0]
    assert set(first["classes"]) == {"interactive", "batch"}
    assert first["classes"]["interactive"]["offered"] > first["classes"]["batch"]["offered"] > 0
    assert 0 <= first["goodput"] <= 1


def test_loads_are_shares_of_the_measured_capacity():
    found = document("--pods", "1", "--seconds", "2", "--load", "0.5", "--policy", "random", "--jobs", "1")
    assert found["capacity"] > 0
    (only,) = found["runs"]
    assert only["load"] == 0.5
    assert only["qps"] == pytest.approx(found["capacity"] / 2)


def test_the_table_has_a_row_per_policy(files):
    done = run(*QUICK, *files, "--policy", "all")
    assert done.exit_code == 0, done.stderr
    assert "least-request" in done.stdout
    assert "interactive" in done.stdout


def test_a_plot_is_drawn(tmp_path, files):
    path = tmp_path / "goodput.png"
    assert run(*QUICK, *files, "--plot", str(path)).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--policy", "fastest"], "policy 'fastest' is unknown"),
        (["--qps", "1", "--load", "1"], "--load and --qps exclude each other"),
        (["--slow", "9:2"], "9 pods are to be slow"),
        (["--slow", "x"], "pods must be a whole number"),
        (["--failures", "7@1-2"], "there is no pod 7"),
        (["--failures", "1"], "write POD@FROM-TO"),
        (["--failures", "1@5-2"], "it comes back after it has gone"),
        (["--profile", "nothing"], "nothing"),
        (["--scheduler", "nothing"], "scheduler 'nothing' is unknown"),
        (["--plot", "x.txt"], "the name must end with"),
    ],
)
def test_mistakes_are_named_in_one_line(args, message):
    done = run("--pods", "2", *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("--classes", "classes: []", "declares no classes"),
        ("--classes", "classes: [{name: a, ttft: fast}]", "ttft"),
        ("--classes", "- 1", "it must be a mapping"),
        ("--workload", "streams: []", "streams"),
        ("--workload", "streams: [{class: other}]", "class 'other' is not declared"),
        ("--workload", "streams: [{class: default, lengths: long}]", "lengths 'long' is unknown"),
        ("--workload", "streams: [{class: default, tenants: {a: 0}}]", "every weight must be above 0"),
        ("--workload", "streams: {", "not YAML"),
    ],
)
def test_mistakes_in_files_are_named_with_the_file(tmp_path, name, text, message):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    done = run("--pods", "2", "--qps", "1", name, str(path))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "file.yaml" in done.stderr
