"""Reading the documentation: pages, headings, links, and the lines of tables."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)])

FENCE = re.compile(r"^(```+).*?^\1`*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`([^`]+)`")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> frozenset[str]:
    """Anchors of a page's headings, as GitHub and the generator of the pages make them."""
    slugs = [slug(heading) for heading in HEADING.findall(prose(page))]
    seen: Counter[str] = Counter()
    found = []
    for each in slugs:
        found.append(f"{each}-{seen[each]}" if seen[each] else each)
        seen[each] += 1
    return frozenset(found)


def slug(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def links(page: Path) -> list[str]:
    """Targets of a page's links that lead to something in the repository."""
    return [link for link in LINK.findall(CODE_SPAN.sub("", prose(page))) if "://" not in link]


@cache
def named_in_tables(*pages: Path, section: str = "") -> frozenset[str]:
    """Everything that the pages give a line: the code spans in the first cell of tables' rows, all or in one section."""
    names: set[str] = set()
    for page in pages:
        for line in _section(page, section).splitlines():
            if line.startswith("|"):
                first = re.split(r"(?<!\\)\|", line)[1]
                names.update(span for text in CODE_SPAN.findall(first) for span in (text, *text.split()))
    return frozenset(names)


def _section(page: Path, title: str) -> str:
    """A page's prose, or the part of it under a heading of the second level."""
    if not title:
        return prose(page)
    parts = re.split(r"^## +(.+?) *$", prose(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]
