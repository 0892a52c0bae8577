"""The file of keys: what it says, what is refused, and that a message never holds a key."""

import re
from hashlib import sha256

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.identity.keys import KeyRing, Principal, hash_of

KEY = b"fl-key-of-team-a"
HASH = "sha256:" + sha256(KEY).hexdigest()


def ring(*entries: dict[str, object]) -> KeyRing:
    return KeyRing.from_yaml(yaml.safe_dump({"keys": list(entries)}))


def test_a_key_is_found_by_its_hash():
    assert ring({"name": "team-a", "hash": HASH}).principal(KEY) == Principal("team-a", "team-a")


def test_another_key_is_nobody_s():
    assert ring({"name": "team-a", "hash": HASH}).principal(KEY + b"x") is None


def test_an_entry_may_name_tenant_classes_models_and_trust():
    entry = {"name": "a", "hash": HASH, "tenant": "t", "classes": ["x", "y"], "models": ["org/M"], "trusted": True} | {
        "ownLimits": True
    }
    assert ring(entry).principal(KEY) == Principal("a", "t", ("x", "y"), ("org/M",), trusted=True, own_limits=True)


def test_an_empty_list_of_keys_lets_nobody_in():
    assert KeyRing.from_yaml("keys: []").principal(KEY) is None


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.binary(min_size=1), max_size=8))
def test_every_key_is_its_own_entry_s_and_no_other_is_anybody_s(keys):
    by_key = {key: name for name, key in keys.items()}
    made = ring(*({"name": name, "hash": hash_of(key)} for key, name in by_key.items()))
    assert {key: made.principal(key) for key in by_key} == {k: Principal(n, n) for k, n in by_key.items()}
    assert made.principal(b"".join(by_key) + b"other") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("[]", "the file: Input should be a valid dictionary"),
        ("{}", "keys: Field required"),
        ("keys: [", "not YAML at line 1"),
        ("keys: [{name: a}]", "keys.0.hash: Field required"),
        (f"keys: [{{hash: '{HASH}'}}]", "keys.0.name: Field required"),
        ("keys: [{name: a, hash: 'sha256:12'}]", "keys.0.hash: must be sha256: and 64 digits"),
        (f"keys: [{{name: a, hash: '{HASH.upper()}'}}]", "keys.0.hash: must be sha256: and 64 digits"),
        (f"keys: [{{name: A, hash: '{HASH}'}}]", "keys.0.name: String should match pattern"),
        (f"keys: [{{name: a, hash: '{HASH}', class: [x]}}]", "keys.0: unknown field: 'class'; known are name, hash,"),
        (f"keys: [{{name: a, hash: '{HASH}', classes: []}}]", "keys.0.classes: must not be empty"),
        (f"keys: [{{name: a, hash: '{HASH}', models: []}}]", "keys.0.models: must not be empty"),
        ("key: []", "the file: unknown field: 'key'; known are keys"),
        (
            f"keys: [{{name: a, hash: '{HASH}'}}, {{name: b, hash: '{HASH}'}}]",
            "keys.1.hash: the same as keys.0.hash; every hash must be unique",
        ),
        (
            f"keys: [{{name: a, hash: '{HASH}'}}, {{name: a, hash: 'sha256:{'0' * 64}'}}]",
            "keys.1.name: the same as keys.0.name; every name must be unique",
        ),
    ],
)
def test_a_file_that_is_none_is_refused_by_field_and_with_the_fix(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        KeyRing.from_yaml(text)


SECRET = "fl-N7vVb1tq0cXjWm2eK9hRyZsLgDpUoAiTfQxBnHwJrMk"


@pytest.mark.parametrize(
    "text",
    [
        f"keys: [{{name: a, hash: {SECRET}}}]",
        f"keys: [{{name: a, key: {SECRET}}}]",
        f"keys: [{{{SECRET}: a}}]",
        f"keys: {{{SECRET}: a}}",
        f"{SECRET}: a",
        f"keys: [{{name: {SECRET}, hash: '{HASH}'}}]",
        f"keys: [{{name: a, hash: '{HASH}', tenant: '{SECRET}'}}]",
        f"keys: [{{name: a, hash: '{HASH}', classes: [{SECRET}]}}]",
        f"keys: [{{name: a, hash: '{HASH}', trusted: {SECRET}}}]",
        f"keys: [{SECRET}]",
        f"keys: [{{name: a, hash: {SECRET}",
        f"{SECRET}",
        f"*{SECRET}",
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match=r"^(the file|keys|not YAML)") as refusal:
        KeyRing.from_yaml(text)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_a_key_in_plain_text_is_refused_with_how_to_hash_it():
    with pytest.raises(ValueError, match="fairlead key hash"):
        ring({"name": "a", "hash": SECRET})
