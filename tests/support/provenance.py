"""What a published result says of where it comes from, so that it can be had again."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]


def committed(*paths: str) -> tuple[str, bool]:
    """Return the commit of the working tree, and whether any of these paths differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changes = [*git, "status", "--porcelain", "--", *paths]
    return head, bool(subprocess.run(changes, capture_output=True, text=True, check=True).stdout.strip())


def commit(*paths: str) -> str:
    """Return the commit in words: with changes, if any of these paths differ from it."""
    head, changed = committed(*paths)
    return head + (" with changes" if changed else "")


def today() -> str:
    """Return the date in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def machine() -> str:
    """Return what it ran on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
