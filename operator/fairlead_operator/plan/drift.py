"""Drift: whether a live object differs from what the operator declares of it.

The API server adds defaults and other controllers add fields of their own, so a live object never equals its
manifest. Two questions find every drift that matters:

* Is each declared field there with its declared value? Where not, applying the manifest again mends it.
* Has somebody else set a field in the parts that are the operator's alone (a Service's selector, a ConfigMap's data,
  a Deployment's template)? An added field can break a child as well as a changed one, and applying again does not
  remove what another manager owns: `adopted` says how it becomes ours to remove.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead_operator.api.quantity import quantity
from fairlead_operator.plan.metadata import MANAGED_BY
from fairlead_operator.types import Manifest

OWNED_PARTS = ("f:spec", "f:data", "f:binaryData", "f:rules", "f:subjects", "f:automountServiceAccountToken")
"""Parts of a child, as managed fields name them, in which no other manager has a say."""

USERS_PART = ("f:template", "f:metadata", "f:annotations")
"""A user's after all, inside a spec: `kubectl rollout restart` works by an annotation of the template."""

CONTROLLERS = frozenset({"kube-controller-manager", "kubelet", "kube-scheduler"})
"""Managers that are part of Kubernetes and write into specs by design, such as a Service's node ports."""

QUANTITIES = frozenset({"requests", "limits"})
"""Fields whose values are quantities, which the API server rewrites."""

LIST_KEYS = ("name", "containerPort", "port", "uid", "topologyKey")
"""Fields by which Kubernetes identifies the items of the lists that a child declares."""


def differs(declared: Any, live: Any) -> bool:
    """Tell whether a declared field is missing from the live object or has another value there."""
    if isinstance(declared, Mapping):
        return not isinstance(live, Mapping) or any(_field_differs(name, declared[name], live) for name in declared)
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        return not isinstance(live, Sequence) or _items_differ(declared, live)
    return bool(declared != live)


def _field_differs(name: str, declared: Any, live: Mapping[str, Any]) -> bool:
    if name in QUANTITIES and isinstance(declared, Mapping):
        found = live.get(name, {})
        return any(
            amount not in found or quantity(value) != quantity(found[amount]) for amount, value in declared.items()
        )
    return differs(declared, live.get(name)) and not (declared in ({}, []) and name not in live)


def _items_differ(declared: Sequence[Any], live: Sequence[Any]) -> bool:
    if key := _item_key(declared):
        found = {item.get(key): item for item in live}
        return any(differs(item, found.get(item[key])) for item in declared)
    return len(declared) != len(live) or any(differs(*pair) for pair in zip(declared, live, strict=True))


def _item_key(items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return next((key for key in LIST_KEYS if all(key in item for item in items)), None)


def meddled(live: Manifest) -> bool:
    """Tell whether somebody other than the operator owns a field in the operator's parts of a child."""
    return any(_is_foreign(entry) for entry in live["metadata"].get("managedFields", ()))


def adopted(live: Manifest) -> list[dict[str, Any]]:
    """Give the managed fields with which every field in the operator's parts belongs to the operator.

    Applying the manifest after that removes the fields that it does not declare. This is how the API's own migration
    from client-side to server-side apply works: ownership first, then apply.
    """
    entries: list[dict[str, Any]] = []
    for entry in live["metadata"].get("managedFields", ()):
        if _is_foreign(entry):
            entries.append({**entry, "manager": MANAGED_BY, "operation": "Apply"})
        else:
            entries.append(dict(entry))
    return _merged(entries)


def _is_foreign(entry: Mapping[str, Any]) -> bool:
    if entry.get("manager") in {MANAGED_BY, *CONTROLLERS} or entry.get("subresource") == "status":
        return False
    fields = entry.get("fieldsV1", {})
    owned = [fields[part] for part in OWNED_PARTS if part in fields]
    return any(not part or _without(part, USERS_PART) for part in owned)  # an empty part is owned as a whole


def _without(fields: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Leave out the field at `path`, and the parents that hold nothing else."""
    first, *rest = path
    if first not in fields:
        return dict(fields)
    left = _without(fields[first], rest) if rest else {}
    return {name: left if name == first else part for name, part in fields.items() if name != first or left}


def _merged(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the operator's entries into one: the API server refuses two of the same manager and operation."""
    mine: dict[str, Any] | None = None
    others = []
    for entry in entries:
        if (
            entry.get("manager") != MANAGED_BY
            or entry.get("operation") != "Apply"
            or entry.get("subresource") == "status"
        ):
            others.append(entry)
        elif mine is None:
            mine = {key: value for key, value in entry.items() if key != "subresource"}
        else:
            mine = {**mine, "fieldsV1": _union(mine["fieldsV1"], entry["fieldsV1"])}
    return ([mine] if mine else []) + others


def _union(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    for name, fields in right.items():
        merged[name] = _union(merged[name], fields) if name in merged else fields
    return merged
