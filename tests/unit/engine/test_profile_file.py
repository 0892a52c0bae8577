"""Profiles in files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.batch_time import PROFILES, Attention, Linear, Roofline, Staircase, Table
from fairlead_engine.profile_file import Profile, ProfileError, document_of, parse, profile

seconds = st.floats(0, 1)
attention = st.builds(Attention, seconds, seconds)
models = st.one_of(
    st.builds(Linear, seconds, seconds, st.none() | seconds, attention),
    st.builds(Staircase, seconds, seconds, st.integers(1, 512), seconds, attention),
    st.builds(Roofline, seconds, seconds, st.integers(1, 64), seconds, seconds, seconds),
    st.builds(lambda first, second: Table((1, 128), (first, second)), seconds, seconds),
)


@given(models)
def test_a_profile_that_is_written_is_read_back(model: Profile) -> None:
    assert parse(json.loads(json.dumps(document_of(model, "a test"))), "here") == model


def test_a_name_gives_the_profile_of_that_name() -> None:
    assert profile("fast") is PROFILES["fast"]


LINEAR = {"model": "linear", "base_seconds": 0.01, "token_seconds": 0.001}
BAD: dict[str, tuple[Any, str]] = {
    "no object": ([], "model must be one of linear, staircase, roofline, table"),
    "another model": ({"model": "cubic"}, "model must be one of linear, staircase, roofline, table"),
    "a field too few": ({"model": "linear", "base_seconds": 1}, "token_seconds"),
    "a field too many": ({**LINEAR, "extra": 1}, "extra"),
    "no number": ({**LINEAR, "base_seconds": "1"}, "base_seconds must be a number of at least 0, not '1'"),
    "attention that is none": ({**LINEAR, "attention": {"speed": 1}}, "attention: missing or unknown fields: speed"),
    "a table out of order": ({"model": "table", "tokens": [2, 1], "times_seconds": [1, 2]}, "tokens must increase"),
    "below zero": ({**LINEAR, "base_seconds": -1}, "base_seconds must be a number of at least 0, not -1"),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD)
def test_a_bad_profile_is_refused_by_file_and_field(tmp_path: Path, document: Any, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ProfileError) as refusal:
        profile(str(path))
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)


def test_a_profile_that_is_neither_known_nor_a_file_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProfileError, match=r"'h100': neither a file nor one of .*fast"):
        profile("h100")
