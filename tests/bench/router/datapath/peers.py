"""The routers of others that come as Python packages: installed once, in the pinned versions, apart from our own environment."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"


class NoPeersError(Exception):
    """The packages could not be installed."""


def install(folder: Path) -> Path:
    """Make the virtual environment of the peers where it is missing or the pinned versions changed; return its programs.

    Raises
    ------
    NoPeersError
        pip failed; the message is its last line.

    """
    stamp = folder / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        done = subprocess.run(
            [*pip, "--require-hashes", "--requirement", REQUIREMENTS], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoPeersError(f"pip could not install them: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_text(wanted)
    return folder / "bin"


def pinned_version(package: str) -> str:
    """Return the version of a package that is measured."""
    found = re.search(rf"^{package}==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)
    assert found is not None, package
    return found[1]
