"""What the API server refuses, `fairlead up` refuses too: one table, two readers."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from bad_manifests import BAD, QUICKSTART, changed

from fairlead_operator.api.pool import InvalidPoolError
from fairlead_operator.local.manifest import read_pool


def test_the_manifest_that_all_others_are_made_from_is_good(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump(QUICKSTART))
    assert read_pool(path).name == "chat"


@pytest.mark.parametrize(
    ("path", "value", "field"), [bad[:3] for bad in BAD], ids=[f"{b[0]}={b[1]!r}"[:60] for b in BAD]
)
def test_a_bad_manifest_is_refused_by_file_and_field(tmp_path: Path, path: str, value: Any, field: str) -> None:
    manifest = tmp_path / "pool.yaml"
    manifest.write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(InvalidPoolError) as refusal:
        read_pool(manifest)
    *parents, name = [part for part in field.replace("[", ".").replace("]", "").split(".") if not part.isdigit()]
    assert f"pool.yaml: {'.'.join(parents[:1]) or name}" in str(refusal.value)
    assert name in str(refusal.value)
