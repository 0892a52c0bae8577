"""A short form of the comparison of a live pool with its simulation."""

import re

from bench_script import printed


def test_the_measurement_runs_and_requests_are_served():
    told = printed("live_goodput.py", "--seconds", "5")
    simulated, live = re.search(r"  goodput +simulated +([\d.]+)% +live +([\d.]+)%", told).groups()
    assert float(simulated) > 0
    assert float(live) > 0
