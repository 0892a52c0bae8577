"""A short form of the measurement of who obeys Retry-After."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "tests" / "bench" / "retry_after.py"


def test_clients_that_obey_retry_after_are_admitted_when_they_come_back():
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "8"], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "first retries, all" in ran.stdout
