"""The CustomResourceDefinition and the typed model are one."""

from pathlib import Path
from typing import Any

import yaml

from fairlead_operator.api.crd import custom_resource_definition, to_yaml
from fairlead_operator.api.pool import InferencePoolSpec, parse_spec

ROOT = Path(__file__).parents[3]
[VERSION] = custom_resource_definition()["spec"]["versions"]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]


def test_the_shipped_crd_is_the_one_that_the_model_gives() -> None:
    shipped = ROOT / "manifests" / "crd" / "fairlead.dev_inferencepools.yaml"
    assert shipped.read_text() == to_yaml(), "run `make crd`"


def walk(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, part in schema.get("properties", {}).items():
        found += walk(part, f"{path}.{name}")
    if "items" in schema:
        found += walk(schema["items"], f"{path}[]")
    return found


def test_every_field_of_the_spec_is_described() -> None:
    undescribed = [path for path, part in walk(SCHEMA["properties"]["spec"]) if path and "description" not in part]
    assert [path for path in undescribed if not path.endswith("[]")] == []


def test_no_field_escapes_the_schema() -> None:
    assert all("x-kubernetes-preserve-unknown-fields" not in part for _, part in walk(SCHEMA))


def test_every_list_is_bounded_so_that_rules_on_it_have_a_bounded_cost() -> None:
    lists = [(path, part) for path, part in walk(SCHEMA["properties"]["spec"]) if part.get("type") == "array"]
    assert lists
    assert [path for path, part in lists if "maxItems" not in part] == []


def test_the_fields_of_the_schema_are_the_fields_of_the_model() -> None:
    fields = {field.alias or name for name, field in InferencePoolSpec.model_fields.items()}
    assert set(SCHEMA["properties"]["spec"]["properties"]) == fields


def test_defaults_in_the_schema_are_the_defaults_of_the_model() -> None:
    minimal = {"model": {"name": "m"}, "engine": {"type": "mock"}}
    defaults = SCHEMA["properties"]["spec"]["properties"]
    filled = {name: part["default"] for name, part in defaults.items() if "default" in part}
    assert parse_spec({**filled, **minimal}) == parse_spec(minimal)


def test_an_optional_part_that_is_left_out_stays_out() -> None:
    router = SCHEMA["properties"]["spec"]["properties"]["router"]["properties"]
    assert "default" in router["limits"], "its defaults apply where it is left out"
    for name in ("auth", "tls", "accessLog", "tracing"):
        assert "default" not in router[name], f"{name} would be switched on"


def test_a_bound_that_is_not_allowed_itself_is_written_as_openapi_3_0_has_it() -> None:
    sample = SCHEMA["properties"]["spec"]["properties"]["router"]["properties"]["accessLog"]["properties"]["sample"]
    assert (sample["minimum"], sample["exclusiveMinimum"]) == (0, True)


def test_samples_parse() -> None:
    for sample in (ROOT / "manifests" / "samples").glob("*.yaml"):
        for document in yaml.safe_load_all(sample.read_text()):
            if document and document["kind"] == "InferencePool":
                assert parse_spec(document["spec"])
