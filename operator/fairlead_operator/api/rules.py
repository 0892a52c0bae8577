"""Rules across fields, as CEL expressions that the API server enforces."""

from pydantic import ConfigDict


def rule(cel: str, message: str) -> dict[str, str]:
    """Give a CEL validation rule in the form that a CustomResourceDefinition has."""
    return {"rule": cel, "message": message}


def validations(*rules: dict[str, str]) -> ConfigDict:
    """Attach CEL rules to a model's schema."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [dict(rule) for rule in rules]})
