"""The CustomResourceDefinition, generated from the typed model.

A CRD's schema must be structural: no references, no unions, one type a field. Pydantic's JSON schema is folded into
that form here, and nothing about the API is said twice.
"""

from collections.abc import Set
from pathlib import Path
from typing import Any

import click
import yaml

from fairlead_operator.api.pool import (
    API_VERSION,
    GROUP,
    KIND,
    MAX_NAME_LENGTH,
    NAME_PATTERN,
    PLURAL,
    VERSION,
    InferencePoolSpec,
)
from fairlead_operator.api.rules import rule

Schema = dict[str, Any]

STATUS_SCHEMA: Schema = {
    "type": "object",
    "description": "What the operator observed.",
    "properties": {
        "phase": {
            "type": "string",
            "description": "One word: Pending, Progressing, Ready, Degraded, Paused or Stopped.",
        },
        "observedGeneration": {
            "type": "integer",
            "description": "The generation of the spec that this status is about.",
        },
        "replicas": {"type": "integer", "description": "Engines that exist and neither drain nor end."},
        "readyReplicas": {"type": "integer", "description": "Engines that are ready to serve."},
        "updatedReplicas": {"type": "integer", "description": "Engines of the current revision."},
        "drainingReplicas": {"type": "integer", "description": "Engines that drain or end."},
        "selector": {"type": "string", "description": "Label selector of the engine pods, for the scale subresource."},
        "image": {"type": "string", "description": "Image of the engines: the spec's, or the default of their type."},
        "revision": {"type": "string", "description": "Hash of what an engine pod is made from."},
        "conditions": {
            "type": "array",
            "description": "Ready, Progressing, Degraded and Draining, each with a reason.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": {"type": "string", "maxLength": 316},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "observedGeneration": {"type": "integer", "minimum": 0},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "message": {"type": "string", "maxLength": 32768},
                },
            },
        },
    },
}

PRINTER_COLUMNS = [
    {"name": "Ready", "type": "integer", "jsonPath": ".status.readyReplicas", "description": "Engines that are ready"},
    {"name": "Desired", "type": "integer", "jsonPath": ".spec.replicas", "description": "Engines that are wanted"},
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Model", "type": "string", "jsonPath": ".spec.model.name"},
    {"name": "Engine", "type": "string", "jsonPath": ".spec.engine.type", "priority": 1},
    {"name": "Image", "type": "string", "jsonPath": ".status.image", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def custom_resource_definition() -> Schema:
    """Give the CustomResourceDefinition of `InferencePool` as a manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "fairlead"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["fpool"],
                "categories": ["fairlead"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": PRINTER_COLUMNS,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": _pool_schema()},
                }
            ],
        },
    }


def _pool_schema() -> Schema:
    document = InferencePoolSpec.model_json_schema(by_alias=True)
    return {
        "type": "object",
        "description": "A model, the engines that serve it, its SLOs and the router in front.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(document, document.get("$defs", {})),
            "status": STATUS_SCHEMA,
        },
        "x-kubernetes-validations": [
            rule(
                f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
                f"metadata.name must have at most {MAX_NAME_LENGTH} characters: its children's names are made from it",
            ),
            rule(
                f"self.metadata.name.matches('{NAME_PATTERN}')",
                "metadata.name must start with a letter and hold only lower-case letters, digits and dashes: "
                "it names a Service",
            ),
        ],
    }


def structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Fold a JSON schema made by pydantic into a structural one: references inlined, optional unions dropped."""
    if schema.get("x-kubernetes-int-or-string"):  # the one union that structural schemas know
        return {key: value for key, value in schema.items() if key != "title"}
    schema = dict(schema)
    if reference := schema.pop("$ref", None):
        return structural({**definitions[reference.removeprefix("#/$defs/")], **schema}, definitions)
    if options := schema.pop("anyOf", None):  # `X | None`: an absent field needs no null
        [option] = [option for option in options if option.get("type") != "null"]
        return structural({**option, **schema}, definitions)
    _drop_what_is_not_structural(schema)
    if values := schema.get("additionalProperties"):
        schema["additionalProperties"] = structural(values, definitions)
    if items := schema.get("items"):
        schema["items"] = structural(items, definitions)
    if properties := schema.get("properties"):
        schema["properties"] = {name: structural(part, definitions) for name, part in properties.items()}
        _default_objects(schema, optional={name for name, part in properties.items() if "anyOf" in part})
    return schema


def _drop_what_is_not_structural(schema: Schema) -> None:
    for key in ("$defs", "title", "propertyNames"):
        schema.pop(key, None)
    if "default" in schema:
        schema["default"] = _without_nulls(schema["default"])
        if schema["default"] is None:
            del schema["default"]
    if "exclusiveMinimum" in schema:  # a number in JSON Schema, a flag beside the minimum in OpenAPI 3.0
        schema |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if schema.get("additionalProperties") is False:  # unknown fields are pruned without being told
        del schema["additionalProperties"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list | tuple) else value


def _default_objects(schema: Schema, optional: Set[str]) -> None:
    """Let an object whose fields all have defaults be left out: the defaults inside it apply all the same.

    Not one that is optional: leaving that out means that there is none.
    """
    required = schema.get("required", [])
    for name, part in schema["properties"].items():
        has_defaults = any("default" in field for field in part.get("properties", {}).values())
        if name not in required and name not in optional and "default" not in part and has_defaults:
            part["default"] = {}


HEADER = f"# {KIND} {API_VERSION}. Generated by `fairlead crd` from the operator's typed model; do not edit.\n"


def to_yaml() -> str:
    """Render the CustomResourceDefinition as it is shipped in `manifests/crd` and in the chart."""
    return HEADER + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120)


@click.command("crd")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write here, not to the screen.")
def command(output: Path | None) -> None:
    """Print the CustomResourceDefinition of InferencePool.

    \b
    fairlead crd | kubectl apply --server-side -f -
    """  # noqa: D301 - click wants the control character
    if output is None:
        click.echo(to_yaml(), nl=False)
    else:
        output.write_text(to_yaml())
