"""Arguments of a tool call: made from the function's JSON Schema, so that they are valid, and from the seed."""

import json
from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 8
"""Schemas may refer to themselves; deeper than this, an object is empty."""

_WORDS = ("Paris", "alpha", "red", "north", "data", "one", "blue", "left")


def arguments_text(schema: Mapping[str, Any], seed: int) -> str:
    """Return JSON that `schema` allows: its required properties, with the values that come first or that `seed` draws."""
    return json.dumps(_object(schema, seed, 0))


def _object(schema: Mapping[str, Any], seed: int, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth > _MAX_DEPTH:
        return {}
    required = schema.get("required")
    names = [name for name in properties if name in required] if isinstance(required, list) else list(properties)
    return {name: _value(properties[name], seed + number, depth + 1) for number, name in enumerate(names)}


def _value(schema: Any, seed: int, depth: int) -> Any:
    if not isinstance(schema, dict):
        return None
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    for several in ("enum", "examples"):
        if schema.get(several):
            return schema[several][seed % len(schema[several])]
    for nested in ("anyOf", "oneOf", "allOf"):
        if schema.get(nested):
            return _value(schema[nested][0], seed, depth)
    return _of_type(schema, seed, depth)


def _of_type(schema: dict[str, Any], seed: int, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    match kind:
        case "object":
            return _object(schema, seed, depth)
        case "array":
            return [_value(schema.get("items", {}), seed, depth + 1) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            least, most = schema.get("minimum", 0), schema.get("maximum")
            return least + seed % 10 if most is None else min(least + seed % 10, most)
        case "boolean":
            return seed % 2 == 0
        case "null":
            return None
        case _:
            return _WORDS[seed % len(_WORDS)]
