"""A short form of the measurement of who obeys Retry-After."""

import re

from bench_script import printed


def test_the_measurement_runs_and_clients_come_back():
    told = printed("retry_after.py", "--seconds", "8")
    came_back, admitted = re.search(r"first retries, all +(\d+) +admitted +([\d.]+)%", told).groups()
    assert int(came_back) > 10
    assert float(admitted) > 0
