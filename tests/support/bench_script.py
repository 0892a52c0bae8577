"""Short forms of the measurements under tests/bench."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"


def printed(script: str, *args: str) -> str:
    """Run a script to its end, and return what it has printed."""
    ran = subprocess.run(
        [sys.executable, BENCH / script, *args], capture_output=True, text=True, check=True, timeout=120
    )
    return ran.stdout
