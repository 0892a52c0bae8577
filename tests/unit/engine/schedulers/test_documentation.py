"""docs/schedulers: the pictures are the core's batches, the example runs, and nothing is left out."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from documentation import DOCS

from fairlead_engine.schedulers import SCHEDULERS

FOLDER = DOCS / "schedulers"
PAGES = sorted(FOLDER.glob("*.md"))
EXAMPLE = FOLDER / "write-your-own.md"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_pictures_are_up_to_date() -> None:
    drawing = load(DOCS / "draw_batches.py")
    stale = [page.name for page in PAGES if drawing.redrawn(page.read_text()) != page.read_text()]
    assert not stale, "run .venv/bin/python docs/draw_batches.py"


def test_the_scheduler_to_write_yourself_has_at_most_40_lines_and_serves_requests() -> None:
    scheduler, driver = code_blocks(EXAMPLE)
    assert scheduler.count("\n") <= 40
    names: dict[str, Any] = {}
    exec(scheduler, names)
    exec(driver, names)
    assert [token.request_id for token in names["tokens"] if token.finished] == ["b", "a"]
    assert len(names["tokens"]) == 6
    assert names["core"].used_blocks == 0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_is_on_a_page_with_its_options(name: str) -> None:
    assert f"`{name}`" in (FOLDER / "index.md").read_text()
    (page,) = [page for page in PAGES if f"`--scheduler {name}`" in page.read_text()]
    assert all(f"\n| `{option}` |" in page.read_text() for option in SCHEDULERS[name].options)
    assert "<!-- batches: " in page.read_text()
