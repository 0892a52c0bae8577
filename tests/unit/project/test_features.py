"""docs/features.md: every feature names a place in the documentation and a test, and both are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from documentation import DOCS, ROOT, anchors

ROW = re.compile(
    r"^\| (?P<feature>.+?) \| \[[^\]]+\]\((?P<page>[^#)]+)#(?P<anchor>[^)]+)\) \| `(?P<test>[^`]+)` \|$", re.MULTILINE
)
TABLE_HEADS = re.compile(r"^\| (feature|---).*$|^\|---.*$", re.MULTILINE)
TEXT = (DOCS / "features.md").read_text()
FEATURES = [tuple(row.groups()) for row in ROW.finditer(TEXT)]

PROMISED = (
    "extras",
    "Console scripts",
    "locked by hash",
    "Makefile",
    ".ci/run",
    "pre-commit",
    "import-linter",
    "coverage",
    "CustomResourceDefinition from the typed model",
    "`status` subresource",
    "`scale` subresource",
    "Printer columns",
    "Pure plan",
    "Server-side apply",
    "Engine pods owned directly",
    "Conditions",
    "Deletion",
    "Chat completions",
    "Completions and models",
    "admin port",
    "watch on pods",
    "list or file",
    "Least-request",
    "filter -> score -> pick",
    "TTFT and TBT",
    "know no edge",
    "vLLM's endpoints",
    "Abort",
    "metric names",
    "batch loop",
    "fairlead up",
    "image per component",
    "Kustomize",
    "Samples",
    "Helm chart",
    "crds.keep",
    "restricted",
    "real API server",
    "kind",
    "trace",
)
"""What the first version promises, in the words of its issue."""


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the tests that pytest collects from a file: module-level functions, and methods of test classes."""
    tree = ast.parse(path.read_text())
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    functions = (node for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_row_has_the_form_that_the_other_tests_read() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and not TABLE_HEADS.match(line)]
    assert len(rows) == len(FEATURES) > 0


@pytest.mark.parametrize(("feature", "page", "anchor", "test"), FEATURES, ids=[row[0] for row in FEATURES])
def test_a_feature_names_a_test_that_exists(feature: str, page: str, anchor: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert (ROOT / file).is_file(), f"{feature}: no file {file}"
    assert Path(file).name.startswith("test_"), f"{feature}: pytest does not collect {file}"
    assert not name or name in names_in(ROOT / file), f"{feature}: no test {name} in {file}"


@pytest.mark.parametrize(("feature", "page", "anchor", "test"), FEATURES, ids=[row[0] for row in FEATURES])
def test_a_feature_is_documented_where_its_row_says(feature: str, page: str, anchor: str, test: str) -> None:
    assert (DOCS / page).is_file(), f"{feature}: no page {page}"
    assert anchor in anchors(DOCS / page), f"{feature}: {page} has no heading {anchor}"


def test_no_feature_stands_there_twice() -> None:
    names = [feature for feature, *_ in FEATURES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("noun", PROMISED)
def test_what_was_promised_has_its_row(noun: str) -> None:
    assert any(noun in feature for feature, *_ in FEATURES), f"no row about {noun}"
