"""Whatever a user can name has its line in the documentation: a table's row that begins with the name."""

import ast
import importlib.util
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from documentation import DOCS, PAGES, ROOT, anchors, links, named_in_tables, prose
from prometheus_client import CollectorRegistry

from fairlead_operator.api.conditions import ConditionReason, ConditionType, EventReason, Phase
from fairlead_operator.api.pool import parse_spec
from fairlead_operator.contract import Metric as OperatorMetric
from fairlead_operator.contract import Result
from fairlead_operator.metrics import Metrics
from fairlead_router.access_log import AccessRecord
from fairlead_router.config import RouterConfig
from fairlead_router.contract import Annotation, Component, EndpointState, Header, Label, Reason, RetryReason, Verdict
from fairlead_router.contract import Metric as RouterMetric
from fairlead_router.identity.keys import KeyRing
from fairlead_router.telemetry import Telemetry
from fairlead_simulator.fleet.files import read_workload
from fairlead_simulator.fleet.scenario import ClassSpec


def load(path: Path) -> ModuleType:
    """The generator of the reference pages: a script, not part of any package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load(DOCS / "generate_reference.py")
SCHEMA = REFERENCE.pool_schema()


def fields(part: str) -> list[str]:
    return [path for path, *_ in REFERENCE.fields(SCHEMA["properties"][part], part)]


def exposed(registry: CollectorRegistry) -> Iterable[str]:
    """Names of a registry's metrics as Prometheus sees them: counters end with _total."""
    for family in registry.collect():
        yield f"{family.name}_total" if family.type == "counter" else family.name


METRICS = sorted({*exposed(Telemetry(RouterConfig(), lambda: ()).registry), *exposed(Metrics().registry)})
FLAGS = [
    (name, flag)
    for name, command in REFERENCE.commands()
    for option in REFERENCE.flags(command)
    for flag in (*option.opts, *option.secondary_opts)
]
TARGETS = re.findall(r"^([a-z][a-z0-9-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


API = (DOCS / "api.md", REFERENCE.FOLDER / "inferencepool.md")
OPERATOR, ROUTER, ENGINE = DOCS / "operator.md", DOCS / "router.md", DOCS / "engine.md"
OBSERVABILITY = DOCS / "observability.md"
SPANS = (ROOT / "router" / "fairlead_router" / "otel.py").read_text()
COMMANDS = REFERENCE.FOLDER / "commands.md"
OWN_PAGES = {"fairlead-router": (ROUTER, "Flags of `fairlead-router`"), "fairlead-engine": (ENGINE, "Flags")}
"""Pages that explain a command's flags beside the generated reference."""


def assert_has_a_line(name: str, *pages: Path, section: str = "") -> None:
    where = ", ".join(page.name for page in pages) + (f", section {section}" if section else "")
    assert name in named_in_tables(*pages, section=section), f"{where}: no table has a row that begins with `{name}`"


@pytest.mark.parametrize("page", list(REFERENCE.PAGES))
def test_a_generated_page_is_up_to_date(page: str) -> None:
    rendered = REFERENCE.PAGES[page]()
    assert (REFERENCE.FOLDER / page).read_text() == rendered, "run .venv/bin/python docs/generate_reference.py"


@pytest.mark.parametrize("field", [*fields("spec"), *fields("status")])
def test_a_field_of_the_api_is_documented(field: str) -> None:
    assert_has_a_line(field, *API)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_documented(metric: str) -> None:
    assert_has_a_line(metric, ROUTER if metric.startswith("fairlead_router_") else OPERATOR, section="Metrics")


def test_every_metric_of_the_contracts_is_among_them() -> None:
    exposed_names = {name.removesuffix("_total") for name in METRICS}
    assert exposed_names == {metric.value for metric in (*RouterMetric, *OperatorMetric)}


@pytest.mark.parametrize("field", json.loads(AccessRecord(0.0, "", "", "", 0, Reason.COMPLETED, 0.0).line()))
def test_a_field_of_the_access_log_is_documented(field: str) -> None:
    assert_has_a_line(field, OBSERVABILITY, section="The access log")


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r'"((?:gen_ai|http|url|server|error|fairlead)\.[a-z_.]+)"', SPANS)))
)
def test_an_attribute_of_a_span_is_documented(name: str) -> None:
    if name != "fairlead.pool":  # of the resource
        assert_has_a_line(name, OBSERVABILITY, section="Traces")


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_of_the_router_is_documented(reason: str) -> None:
    assert_has_a_line(reason, ROUTER, section="Reasons and errors")


@pytest.mark.parametrize("word", [*ConditionType, *ConditionReason, *Phase])
def test_a_condition_reason_or_phase_of_a_pool_is_documented(word: str) -> None:
    assert_has_a_line(word, OPERATOR, section="Conditions")


@pytest.mark.parametrize("reason", list(EventReason))
def test_the_reason_of_an_event_is_documented(reason: str) -> None:
    assert_has_a_line(reason, OPERATOR, section="Events")


@pytest.mark.parametrize("result", list(Result))
def test_the_result_of_a_reconcile_is_documented(result: str) -> None:
    assert_has_a_line(result, OPERATOR, section="Metrics")


@pytest.mark.parametrize("name", [*Label, *Annotation])
def test_a_label_or_annotation_is_documented(name: str) -> None:
    assert_has_a_line(name, *API)


@pytest.mark.parametrize("name", list(Header))
def test_a_header_is_documented(name: str) -> None:
    assert_has_a_line(name, ROUTER, section="Headers")


@pytest.mark.parametrize("value", [*EndpointState, *RetryReason, *Verdict, *Component])
def test_a_value_of_a_label_is_said_somewhere(value: str) -> None:
    assert any(f"`{value}`" in prose(page) for page in PAGES)


@pytest.mark.parametrize(("command", "flag"), FLAGS)
def test_a_flag_is_documented(command: str, flag: str) -> None:
    assert_has_a_line(flag, COMMANDS, section=command)
    if command in OWN_PAGES and flag not in {"-h", "--help"}:
        page, section = OWN_PAGES[command]
        assert_has_a_line(flag, page, section=section)


@pytest.mark.parametrize("value", [path for path, _ in REFERENCE.chart_values()])
def test_a_value_of_the_chart_is_documented(value: str) -> None:
    assert_has_a_line(value, REFERENCE.FOLDER / "helm-values.md")


@pytest.mark.parametrize("target", TARGETS)
def test_a_make_target_is_documented(target: str) -> None:
    assert_has_a_line(f"make {target}", DOCS / "development.md", section="Make targets")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link}: nothing is there"
        assert target.is_relative_to(ROOT), f"{link}: leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no heading has that anchor"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_make_command_that_is_shown_exists(page: Path) -> None:
    shown = re.findall(r"(?:`|^|\s{2,})make ([a-z][a-z0-9-]*)(?=`|\s{2,}|$)", page.read_text(), re.MULTILINE)
    assert set(shown) <= set(TARGETS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_path_that_is_shown_exists(page: Path) -> None:
    """Paths from the root of the repository, in code; a name with capitals or a star stands for many."""
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    for path in re.findall(rf"(?:^|[`\s])((?:{folders}|\.ci)/[a-z0-9_./-]*[a-z0-9_])(?=[`\s]|$)", page.read_text()):
        assert (ROOT / path).exists() or path == "docs/_build/html", f"{path} is not there"


def test_the_readme_shows_the_quickstart_manifest_as_it_is() -> None:
    manifest = (ROOT / "manifests" / "samples" / "quickstart.yaml").read_text()
    assert f"```yaml\n{manifest}```\n" in (ROOT / "README.md").read_text()


def test_the_readme_names_the_two_commands_and_what_they_need() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make up " in readme
    assert "make test " in readme
    assert "Python 3.11" in readme


def test_the_curl_line_is_the_one_that_fairlead_up_prints() -> None:
    body = {
        "model": "mistral-7b",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 64,
        "stream": True,
    }
    printed = f"/v1/chat/completions -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    for page in (ROOT / "README.md", DOCS / "quickstart.md"):
        assert printed in page.read_text(), page.name


def test_every_page_can_be_reached_from_the_contents() -> None:
    trees = "".join(page.read_text() for page in DOCS.rglob("index.md"))
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md" and "_build" not in page.parts:
            assert page.stem in trees, f"{page.relative_to(DOCS)} is in no table of contents"


def test_every_part_of_the_code_has_its_decisions_in_the_table_of_where() -> None:
    page = (DOCS / "development.md").read_text()
    pure = ("router/fairlead_router/decisions", "operator/fairlead_operator/plan")
    silent = {"__init__", "types", "metadata", "pool"}  # words and joints: nothing is decided there
    for module in (path for folder in pure for path in (ROOT / folder).glob("*.py") if path.stem not in silent):
        assert f"`{module.parent.name}/{module.name}`" in page, f"{module.name}: which of its decisions is where?"


def test_the_table_of_where_names_modules_that_exist() -> None:
    rows = [line for line in (DOCS / "development.md").read_text().splitlines() if line.startswith("|")]
    cells = [cell for row in rows for cell in re.findall(r"(?:engine|router|operator) `[^|]*?`(?=[,|] | \|)", row)]
    named = [(part, path) for cell in cells for part, path in re.findall(r"(engine|router|operator) `([^`]+)`", cell)]
    assert len(named) > 20
    missing = [path for part, path in named if not (ROOT / part / f"fairlead_{part}" / path).exists()]
    assert not missing


def blocks(language: str) -> list[object]:
    """Fenced blocks of a language, from every page."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = [(page, number, text) for page in PAGES for number, text in enumerate(fence.findall(page.read_text()))]
    return [pytest.param(text, id=f"{page.relative_to(ROOT)} {number}") for page, number, text in found]


@pytest.mark.parametrize("text", blocks("python"))
def test_python_that_is_shown_is_python(text: str) -> None:
    ast.parse(text)


@pytest.mark.parametrize("text", blocks("sh"))
def test_a_shell_command_that_is_shown_is_one(text: str) -> None:
    commands = text.replace("<this repository>", "URL")
    subprocess.run(["bash", "-n"], input=commands, text=True, check=True, timeout=10)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_that_is_shown_is_a_pool_or_a_file_that_is_read(text: str, tmp_path: Path) -> None:
    shown = yaml.safe_load(text)
    if "kind" in shown:
        parse_spec(shown["spec"])
    elif "keys" in shown:
        KeyRing.from_yaml(text)
    elif "streams" in shown:
        (tmp_path / "workload.yaml").write_text(text)
        read_workload(tmp_path / "workload.yaml", [ClassSpec(each["class"]) for each in shown["streams"]])
    else:
        RouterConfig.from_yaml(text)


def test_the_operator_s_rights_are_told_exactly() -> None:
    told = (ROOT / "SECURITY.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in told.splitlines() if line.startswith("| `")]
    rights = {resource: verbs for cell, verbs in rows for resource in re.findall(r"`([a-z/]+)`", cell)}
    granted = {
        resource: ", ".join(rule["verbs"])
        for name in ("pool-rules.yaml", "node-rules.yaml")
        for rule in yaml.safe_load((ROOT / "helm" / "fairlead" / "files" / name).read_text())
        for resource in rule["resources"]
    }
    assert rights == granted
