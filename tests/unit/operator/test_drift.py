"""When a live object is as declared, and when somebody has meddled with it."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.plan.drift import adopted, differs, meddled, quantity

SAME = [
    ({"a": 1}, {"a": 1, "added": 2}),
    ({"a": {}}, {}),
    ({"a": []}, {}),
    ([1, 2], [1, 2]),
    ([{"name": "x", "v": 1}], [{"name": "injected"}, {"name": "x", "v": 1, "default": 0}]),
    ({"requests": {"cpu": "1000m"}}, {"requests": {"cpu": "1"}}),
    ({"limits": {"memory": "1024Mi"}}, {"limits": {"memory": "1Gi", "cpu": "1"}}),
]
OTHER = [
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {}),
    ({"a": {"b": 1}}, {"a": None}),
    ([1, 2], [2, 1]),
    ([1], [1, 2]),
    ([{"name": "x", "v": 1}], [{"name": "x", "v": 2}]),
    ([{"name": "x"}], []),
    ({"a": []}, {"a": [{"name": "x"}]}),
    ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}),
    ({"requests": {"cpu": "1"}}, {}),
]


@pytest.mark.parametrize(("declared", "live"), SAME)
def test_additions_and_other_spellings_are_no_drift(declared: Any, live: Any) -> None:
    assert not differs(declared, live)


@pytest.mark.parametrize(("declared", "live"), OTHER)
def test_a_declared_field_that_is_missing_or_changed_is_drift(declared: Any, live: Any) -> None:
    assert differs(declared, live)


documents = st.recursive(
    st.integers() | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
)


@given(documents)
def test_nothing_differs_from_itself(document: Any) -> None:
    assert not differs(document, document)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", "1"), ("500m", "0.5"), ("1.5", "1.5"), ("2k", "2000"), ("1Ki", "1024"), ("1Gi", "1073741824")],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, number: str) -> None:
    assert quantity(text) == Decimal(number)


def test_what_is_no_quantity_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'lots'"):
        quantity("lots")


def entry(manager: str, operation: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


OURS = entry("fairlead-operator", "Apply", {"f:spec": {"f:selector": {"f:a": {}}}})
FOREIGN = entry("kubectl-edit", "Update", {"f:spec": {"f:selector": {"f:b": {}}}})
HARMLESS = [
    entry("kube-controller-manager", "Update", {"f:spec": {"f:x": {}}}),
    entry("kubectl", "Update", {"f:status": {"f:x": {}}}, subresource="status"),
    entry("kubectl-rollout", "Update", {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:at": {}}}}}}),
    entry("kubectl-label", "Update", {"f:metadata": {"f:labels": {"f:team": {}}}}),
]


def live(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def test_a_foreign_field_in_the_spec_is_meddling() -> None:
    assert meddled(live(OURS, FOREIGN))


def test_an_emptied_list_of_rules_is_meddling() -> None:
    assert meddled(live(OURS, entry("kubectl-edit", "Update", {"f:rules": {}})))


def test_a_label_in_the_template_is_meddling_even_beside_an_annotation() -> None:
    both = {"f:annotations": {"f:at": {}}, "f:labels": {"f:x": {}}}
    assert meddled(live(OURS, entry("x", "Update", {"f:spec": {"f:template": {"f:metadata": both}}})))


def test_controllers_status_labels_and_restarts_are_no_meddling() -> None:
    assert not meddled(live(OURS, *HARMLESS))


def test_adopted_fields_become_ours_in_one_entry() -> None:
    [mine] = adopted(live(OURS, FOREIGN))
    assert mine["manager"] == "fairlead-operator"
    assert mine["operation"] == "Apply"
    assert mine["fieldsV1"] == {"f:spec": {"f:selector": {"f:a": {}, "f:b": {}}}}


def test_adoption_leaves_the_fields_of_others_to_them() -> None:
    assert adopted(live(OURS, FOREIGN, *HARMLESS))[1:] == HARMLESS
