"""A short form of the comparison of a live pool with its simulation."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "tests" / "bench" / "live_goodput.py"


def test_the_measurement_runs_and_requests_are_served():
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "5"], capture_output=True, text=True, check=True, timeout=120
    )
    simulated, live = re.search(r"  goodput +simulated +([\d.]+)% +live +([\d.]+)%", ran.stdout).groups()
    assert float(simulated) > 0
    assert float(live) > 0
