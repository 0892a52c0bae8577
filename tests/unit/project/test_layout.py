"""The repository is laid out as its documentation says, and its checks are in force."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARENTS = ("engine", "router", "operator", "simulator")
BIN = Path(sys.executable).parent
MAKEFILE = (ROOT / "Makefile").read_text().replace("\\\n", " ")
"""With continued lines joined."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("parent", PARENTS)
def test_a_folder_that_holds_a_package_is_none_itself(parent: str) -> None:
    assert not (ROOT / parent / "__init__.py").exists(), f"{parent}/ would hide a module of that name"
    assert (ROOT / parent / f"fairlead_{parent}" / "__init__.py").exists()
    assert (ROOT / parent / f"fairlead_{parent}" / "py.typed").exists()


def test_the_standard_library_s_operator_is_found_from_the_root() -> None:
    code = "import operator; print(operator.itemgetter(1)('ab'))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown == "b\n"


def contracts() -> dict[str, dict[str, Any]]:
    return {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}


def test_the_borders_between_the_parts_are_contracts() -> None:
    forbidden: dict[str, set[str]] = {}
    for contract in contracts().values():
        for source in contract["source_modules"]:
            forbidden.setdefault(source, set()).update(contract["forbidden_modules"])
    assert {"fairlead_operator", "kopf"} <= forbidden["fairlead_router"]
    assert {"fairlead_router", "fairlead_operator"} <= forbidden["fairlead_engine"]
    assert {"aiohttp", "kubernetes", "fastapi", "time"} <= forbidden["fairlead_router.decisions"]
    assert {"aiohttp", "kubernetes", "kopf", "time"} <= forbidden["fairlead_operator.plan"]


def test_one_distribution_has_an_extra_for_each_part() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {*PARENTS, "tracing", "all"}
    assert extras["all"] == ["fairlead[router,operator,engine,simulator,tracing]"]


@pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
def test_every_command_starts(command: str) -> None:
    shown = subprocess.run([BIN / command, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
    assert shown.startswith(f"Usage: {command} ")


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda file: file.name)
def test_every_locked_dependency_has_a_hash(file: Path) -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", file.read_text()) if "==" in entry.split("\n")[0]]
    assert entries
    without = [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not without


def test_ci_runs_what_people_run_and_leaves_nothing_out() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["test"]["steps"]
    assert "E2E=required exec make test" in (ROOT / ".ci" / "run").read_text()
    [stages] = re.findall(r"^test: install.*\n\t@\.ci/stages (.*)$", MAKEFILE, re.MULTILINE)
    assert stages.split() == ["lint", "types", "imports", "unit", "docs", "api", "e2e"]


def test_the_checks_of_a_commit_are_those_of_the_stages() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    tools = {hook["entry"].split()[0].rsplit("/", 1)[-1] for repo in config["repos"] for hook in repo["hooks"]}
    assert tools == {"ruff", "codespell", "mypy", "lint-imports"}
    assert PROJECT["tool"]["mypy"]["strict"]


def test_the_branches_of_decisions_are_covered_by_a_gate() -> None:
    [decisions] = re.findall(r"^DECISIONS := (.*)$", MAKEFILE, re.MULTILINE)
    assert {"fairlead_router.decisions", "fairlead_operator.plan"} <= set(decisions.split())
    [least] = re.findall(r"^BRANCH_COVERAGE := (\d+)$", MAKEFILE, re.MULTILINE)
    assert int(least) >= 95
    [unit] = re.findall(r"^unit: .*\n\t(.*)$", MAKEFILE, re.MULTILINE)
    assert "--cov-branch" in unit
    assert "--cov-fail-under=$(BRANCH_COVERAGE)" in unit


def test_warnings_are_errors_and_markers_are_strict() -> None:
    options = PROJECT["tool"]["pytest"]["ini_options"]
    assert options["filterwarnings"] == ["error"]
    assert {"--strict-markers", "--import-mode=importlib"} <= set(options["addopts"])
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_a_notebook_of_changes_is_kept() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


OUTSIDE = re.compile(r"(?<![\w.~{}/-])/(work|home|Users)/\w|\.\./shared\b")


def test_nothing_refers_to_a_place_outside_the_repository() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in OUTSIDE.finditer(text) if path != Path(__file__)]
    assert not found, json.dumps(found)
