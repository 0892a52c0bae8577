"""The study of goodput: a short form of it runs, and its page is what its file of results says."""

import json
import runpy

import pytest
from bench_script import BENCH, printed

SCRIPT = "fleet_goodput.py"


def test_every_policy_is_measured_under_every_workload():
    lines = printed(SCRIPT, "--short", "--jobs", "1").splitlines()
    assert [line.split()[0] for line in lines] == ["sharegpt", "prefixes", "classes", "bursts"]
    for line in lines:
        assert line.count("%") == 12
        assert "rad " in line


def test_the_page_is_what_the_file_of_results_says():
    study = runpy.run_path(str(BENCH / SCRIPT))
    if not study["RESULT"].exists():
        pytest.skip("nothing is published yet")
    assert study["PAGE"].read_text() == study["page"](json.loads(study["RESULT"].read_text()))
