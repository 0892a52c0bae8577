"""What is shipped twice is equal, what is shipped is valid, and the operator may do no more than it must."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead_operator.api.pool import parse_spec

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "fairlead"
BASE = ROOT / "manifests" / "base"
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def base_objects(kind: str) -> list[dict[str, Any]]:
    documents = (d for path in sorted(BASE.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text()))
    return [document for document in documents if document["kind"] == kind]


def base_rules(kind: str) -> list[dict[str, Any]]:
    [role] = base_objects(kind)
    rules: list[dict[str, Any]] = role["rules"]
    return rules


def test_the_chart_s_crd_equals_the_plain_one() -> None:
    plain = ROOT / "manifests" / "crd" / "fairlead.dev_inferencepools.yaml"
    assert (CHART / "files" / "inferencepools.yaml").read_text() == plain.read_text()


def test_the_chart_grants_what_the_kustomize_base_grants() -> None:
    everywhere = [*load(CHART / "files" / "pool-rules.yaml"), *load(CHART / "files" / "node-rules.yaml")]
    assert everywhere == base_rules("ClusterRole")
    assert load(CHART / "files" / "lease-rules.yaml") == base_rules("Role")


@pytest.mark.parametrize("kind", ["ClusterRole", "Role"])
def test_no_right_is_a_wildcard_or_reaches_secrets(kind: str) -> None:
    for rule in base_rules(kind):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"secrets", "pods/exec"} & set(rule["resources"])
        assert "nodes" not in rule["resources"] or rule["verbs"] == ["list"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_every_version_is_the_project_s() -> None:
    chart = load(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    [deployment] = base_objects("Deployment")
    images = re.findall(r"fairlead/(\w+):(\S+)", json.dumps(deployment).replace('"', " "))
    assert sorted(images) == [("engine", VERSION), ("operator", VERSION), ("router", VERSION)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_a_sample_parses_as_the_operator_parses_it(sample: Path) -> None:
    for pool in yaml.safe_load_all(sample.read_text()):
        parse_spec(pool["spec"])


def test_the_example_on_artifact_hub_parses_as_the_operator_parses_it() -> None:
    [pool] = yaml.safe_load(load(CHART / "Chart.yaml")["annotations"]["artifacthub.io/crdsExamples"])
    parse_spec(pool["spec"])


def values(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and value and name != "resources":
            yield from values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("value", list(values(load(CHART / "values.yaml"))))
def test_a_value_of_the_chart_is_described_by_schema_and_readme(value: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    part = schema
    for name in value.split("."):
        assert part.get("additionalProperties") is False, f"{value}: the schema lets unknown keys pass beside it"
        part = part["properties"][name]
        if reference := part.get("$ref"):
            part = {**schema["$defs"][reference.removeprefix("#/$defs/")], **part}
        assert part.get("description"), f"{value}: no description in the schema"
    assert f"`{value}" in (CHART / "README.md").read_text(), f"{value}: not in the chart's README"


def test_a_component_s_image_runs_its_own_command_as_a_user_without_rights() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["65532:65532"]
    for component in ("engine", "router", "operator"):
        assert re.search(
            rf'^FROM runtime AS {component}$(?s:.*?)^ENTRYPOINT \["fairlead-{component}"\]$', dockerfile, re.MULTILINE
        )
