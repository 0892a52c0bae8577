"""Batch logs: what a core was asked and answered survives a file, and its replay is identical."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from fairlead_engine.batch_log import BatchLogError, Header, RecordedCore, read
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.types import Request
from fairlead_simulator.cli import simulate
from fairlead_simulator.replay import replay


def recorded(scheduler: str = "sarathi", *, prefix_cache: bool = False, **options: str) -> list[str]:
    """Drive a core as a live engine does: requests and aborts come while batches run, and there are idle times."""
    lines: list[str] = []
    limits = Limits(max_num_seqs=16, num_gpu_blocks=60, max_num_batched_tokens=256)
    core = RecordedCore(Header(scheduler, options, limits, prefix_cache=prefix_cache), lines.append)
    random = Random(9)
    now = 4711.25
    for number in range(60):
        hashes = tuple(range(number % 3 * 100, number % 3 * 100 + 4))
        request = Request(
            f"r{number}", 65 + random.randrange(120), 1 + random.randrange(60), "chat", 0.1, number % 2, hashes
        )
        core.add(request, now)
        if number % 7 == 3:
            core.abort(f"r{number - 2}")
        for _ in range(random.randrange(12) if number % 20 else 400):
            batch = core.next_batch(now)
            now += 0.1 + random.random()
            if batch is not None:
                if random.random() < 0.02:
                    core.abort(random.choice(batch.decodes or ("none",)))
                core.complete(batch, now)
    return lines


@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if SCHEDULERS[name].limits.reserved_tokens is None])
def test_a_replay_composes_identical_batches(scheduler: str) -> None:
    found = replay(recorded(scheduler))
    assert found.difference is None
    assert found.requests == 60
    assert found.batches > 100


def test_a_replay_knows_the_prefix_cache_and_the_options() -> None:
    lines = recorded("slai", prefix_cache=True, order="fcfs", offset="3")
    assert replay(lines).difference is None
    header, _ = read(lines)
    assert header.prefix_cache
    assert header.options == {"order": "fcfs", "offset": "3"}


def test_times_and_batches_survive_the_file_exactly() -> None:
    lines = recorded()
    header, events = read(lines)
    again: list[str] = [header.line()]
    assert again[0] == lines[0]
    times = [event.at for _, event in events]
    assert all(before <= after for before, after in pairwise(times))
    assert times[-1] == json.loads(lines[-1])["at"]


def changed(lines: list[str], edit: Callable[[dict[str, object]], object]) -> tuple[list[str], int]:
    """Edit the 50th batch of a log; return the log and the line of that batch."""
    places = [place for place, line in enumerate(lines) if json.loads(line).get("batch")]
    document = json.loads(lines[places[49]])
    edit(document["batch"])
    return [*lines[: places[49]], json.dumps(document), *lines[places[49] + 1 :]], places[49] + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("decodes", ["nobody"]), ("context_tokens", 1), ("prefills", [["nobody", 1, 0, True]]), ("preempted", ["nobody"])],
)
def test_the_first_difference_is_named_by_line_and_field(field: str, value: object) -> None:
    lines, number = changed(recorded(), lambda batch: batch.update({field: value}))
    found = replay(lines)
    assert found.difference is not None
    assert found.difference.line == number
    assert found.batches == 49
    assert f"{field} recorded" in str(found.difference)


def test_a_batch_where_the_replay_has_none_is_a_difference() -> None:
    lines = recorded()
    nothing = next(place for place, line in enumerate(lines) if json.loads(line).get("batch", 0) is None)
    document = json.loads(lines[nothing]) | {
        "batch": {"decodes": ["r1"], "context_tokens": 1, "prefills": [], "admitted": [], "preempted": []}
    }
    found = replay([*lines[:nothing], json.dumps(document), *lines[nothing + 1 :]])
    assert found.difference is not None
    assert "replayed None" in str(found.difference)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: this is no batch log"),
        (["{}"], "line 1: this is no batch log"),
        (["no json"], "line 1: Expecting value"),
        ([Header("nope", {}, Limits()).line()], "line 1: scheduler 'nope' is unknown"),
        ([Header("rad", {"tile": "0"}, Limits()).line()], "line 1: scheduler rad: option tile"),
        ([Header("sarathi", {}, Limits()).line(), "[]"], "line 2: must be an object"),
        ([Header("sarathi", {}, Limits()).line(), "{}"], "line 2: 'at' is missing"),
        ([Header("sarathi", {}, Limits()).line(), '{"at": 1, "drop": "a"}'], "line 2: has none of add"),
        ([Header("sarathi", {}, Limits()).line(), '{"at": 1, "abort": "a"}'], "line 2: aborts 'a', which is not there"),
        ([Header("sarathi", {}, Limits()).line(), '{"at": 1, "complete": true}'], "line 2: completes a batch"),
        ([Header("sarathi", {}, Limits()).line(), '{"at": 1, "add": {"request_id": "a"}}'], "line 2:"),
    ],
)
def test_a_line_that_is_not_of_the_format_is_named(lines: list[str], message: str) -> None:
    with pytest.raises(BatchLogError) as raised:
        replay(lines)
    assert message in str(raised.value)


class TestCommand:
    def written(self, folder: Path, lines: list[str]) -> str:
        path = folder / "batches.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def test_identical_batches_are_told_in_a_line(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(simulate, ["replay", self.written(tmp_path, recorded())])
        assert done.exit_code == 0
        assert done.stdout.startswith("60 requests, ")
        assert done.stdout.endswith("batches of sarathi: identical\n")

    def test_a_difference_is_told_and_exits_with_1(self, tmp_path: Path) -> None:
        lines, number = changed(recorded(), lambda batch: batch.update(context_tokens=1))
        done = CliRunner().invoke(simulate, ["replay", "--json", self.written(tmp_path, lines)])
        assert done.exit_code == 1
        assert f"line {number}" in done.stderr
        assert json.loads(done.stdout)["identical"] is False

    def test_a_file_that_is_no_log_is_refused_in_one_line(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, ["num_prefill_tokens"])
        done = CliRunner().invoke(simulate, ["replay", path])
        assert done.exit_code == 2
        assert done.stderr.startswith(f"simulate replay: {path}: line 1: ")
        assert done.stderr.count("\n") == 1
