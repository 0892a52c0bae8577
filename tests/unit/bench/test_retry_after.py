"""A short form of the measurement of who obeys Retry-After."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "tests" / "bench" / "retry_after.py"


def test_the_measurement_runs_and_clients_come_back():
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "8"], capture_output=True, text=True, check=True, timeout=120
    )
    came_back, admitted = re.search(r"first retries, all +(\d+) +admitted +([\d.]+)%", ran.stdout).groups()
    assert int(came_back) > 10
    assert float(admitted) > 0
