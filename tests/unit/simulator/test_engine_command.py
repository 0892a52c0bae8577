"""`fairlead simulate engine` and `region`: what they print, what they write, and what they refuse."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairlead_simulator.cli import simulate
from fairlead_simulator.results import flat

SHORT = ["--requests", "30", "--qps", "1.6"]
TRACE = "num_prefill_tokens,num_decode_tokens,arrived_at\n100,20,0\n2000,10,0.5\n300,40,3\n"
SUMMARY = {"mean": float, "p50": float, "p90": float, "p99": float}
SCHEMA: dict[str, Any] = {
    "scheduler": str,
    "profile": str,
    "qps": float,
    "seed": int,
    "requests": int,
    "completed": int,
    "sim_seconds": float,
    "wall_seconds": float,
    "tokens_per_second": float,
    "output_tokens_per_second": float,
    "ttft": SUMMARY,
    "first_token": SUMMARY,
    "ttft_by_user": {"strict": SUMMARY, "relaxed": SUMMARY},
    "tbt": {user: {"p50": float, "p99": float, "share_over": float} for user in ("strict", "relaxed")},
    "preemptions": int,
    "cached_tokens": int,
    "kv_used": {"mean": float, "max": float},
    "in_system": {"mean": float, "max": int, "end": int, "quarters": list},
    "batches": {"count": int, "mean_seconds": float, "mean_tokens": float},
}


def run(*args: str) -> Result:
    return CliRunner().invoke(simulate, list(args))


def documents(*args: str) -> Any:
    done = run("engine", "--json", *args)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def shape(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items()}
    return type(document)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def without_wall_time(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "wall_seconds"}


class TestOutput:
    def test_one_run_is_one_json_object_of_this_shape(self) -> None:
        assert shape(documents("--requests", "100")) == SCHEMA

    def test_several_runs_are_a_list_by_scheduler_and_rate(self) -> None:
        runs = documents("--scheduler", "sarathi,rad:cycle=20", "--qps", "1:1.5:0.5", "--requests", "20", "--jobs", "1")
        assert [(run["scheduler"], run["qps"]) for run in runs] == [
            ("sarathi", 1.0),
            ("sarathi", 1.5),
            ("rad:cycle=20", 1.0),
            ("rad:cycle=20", 1.5),
        ]

    def test_runs_over_processes_are_the_same_as_one_after_the_other(self) -> None:
        both = ["--scheduler", "sarathi,slai", *SHORT]
        one, two = documents(*both, "--jobs", "1"), documents(*both, "--jobs", "2")
        assert [without_wall_time(item) for item in one] == [without_wall_time(item) for item in two]

    def test_a_table_names_every_scheduler(self) -> None:
        done = run("engine", "--scheduler", "sarathi,slai-spf-fixed", "--jobs", "1", *SHORT)
        assert done.exit_code == 0
        assert "slai-spf-fixed" in done.stdout
        assert done.stderr == ""  # the progress bar is for terminals

    def test_the_csv_has_the_same_figures_as_the_json(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.csv"
        document = documents("--csv", str(path), *SHORT)
        with path.open() as file:
            [row] = list(csv.DictReader(file))
        assert row == {name: str(value) for name, value in flat(document).items()}

    def test_a_timeline_is_written_as_csv_with_a_row_a_sample(self, tmp_path: Path) -> None:
        path = tmp_path / "timeline.csv"
        documents("--timeline", str(path), *SHORT)
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["scheduler", "qps", "seconds", "in_system", "running", "kv_used", "batch_tokens"]
        assert len(rows) > 50

    def test_runs_that_were_stopped_before_anything_ended_are_written_and_drawn_as_well(self, tmp_path: Path) -> None:
        paths = [tmp_path / name for name in ("runs.csv", "runs.png", "timeline.png")]
        flags = [
            item for flag, path in zip(("--csv", "--plot", "--timeline"), paths, strict=True) for item in (flag, path)
        ]
        arguments = ["--qps", "1:400:399", "--requests", "20", "--until", "0.04", "--jobs", "1"]
        stopped, crowded = documents(*map(str, flags), *arguments)
        assert stopped["completed"] == crowded["completed"] == 0
        assert len(crowded["in_system"]["quarters"]) > len(stopped["in_system"]["quarters"])
        assert all(path.stat().st_size for path in paths)

    @pytest.mark.parametrize("rates", ["1", "1:2:1"])
    def test_plots_are_drawn_in_the_format_of_the_suffix(self, tmp_path: Path, rates: str) -> None:
        plot, timeline = tmp_path / "runs.png", tmp_path / "timeline.svg"
        arguments = ["--qps", rates, "--requests", "20", "--jobs", "1"]
        documents("--plot", str(plot), "--timeline", str(timeline), *arguments)
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in timeline.read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.png", "timeline.svg"]

    def test_a_capacity_comes_with_its_condition_and_its_runs(self) -> None:
        arguments = ["--requests", "100", "--qps", "0.5:8.5:4", "--jobs", "1"]
        found = documents("--capacity", "ttft.p50<0.5 and tbt.strict.p99<=0.1", *arguments)
        assert found["scheduler"] == "sarathi"
        assert 0.5 < found["capacity"]["qps"] < 4.5
        assert not found["capacity"]["exceeds_grid"]
        at_capacity = [run for run in found["runs"] if run["qps"] == found["capacity"]["qps"]]
        assert at_capacity[0]["ttft"]["p50"] < 0.5
        above = [run for run in found["runs"] if run["qps"] == pytest.approx(found["capacity"]["qps"] + 0.01)]
        assert above[0]["ttft"]["p50"] >= 0.5 or above[0]["tbt"]["strict"]["p99"] > 0.1
        table = run("engine", "--capacity", "ttft.p50<0.5", *arguments).stdout
        assert "sarathi: ttft.p50<0.5 up to" in table


class TestWorkload:
    def test_a_trace_gives_the_lengths(self, trace: Path) -> None:
        done = documents("--trace", str(trace), "--requests", "3", "--qps", "1")
        assert done["output_tokens_per_second"] * done["sim_seconds"] == pytest.approx(70)

    def test_a_replayed_trace_gives_the_arrivals_as_well(self, trace: Path) -> None:
        done = documents("--trace", str(trace), "--arrivals", "trace")
        assert done["requests"] == done["completed"] == 3
        assert done["qps"] == pytest.approx(2 / 3)
        assert 3 < done["sim_seconds"] < 6

    @pytest.mark.parametrize(
        "arrivals", ["clipped", "poisson", "deterministic", "gamma:cv=3", "mmpp:ratio=3,burst=5", "diurnal:period=60"]
    )
    def test_every_arrival_process_can_be_named(self, arrivals: str) -> None:
        assert documents("--arrivals", arrivals, *SHORT)["completed"] == 30

    @pytest.mark.parametrize("lengths", ["sharegpt", "fixed:290,99", "conversations:turns=3,system=64,active=4"])
    def test_every_source_of_lengths_can_be_named(self, lengths: str) -> None:
        assert documents("--lengths", lengths, "--enable-prefix-caching", *SHORT)["completed"] == 30

    def test_users_have_names_shares_and_limits(self) -> None:
        done = documents("--users", "gold:0.2:0.05,silver:0.3:0.1,bronze:0.5:1", *SHORT)
        assert list(done["tbt"]) == ["gold", "silver", "bronze"]


REFUSED = [
    (["--scheduler", "nope"], "scheduler 'nope' is unknown; choose from fastertransformer"),
    (["--scheduler", "rad:tile=0"], "scheduler rad: option tile must be"),
    (["--scheduler", "rad:tile"], "scheduler rad: write its option 'tile' as tile=VALUE"),
    (["--scheduler", "sarathi:tile=1"], "scheduler sarathi has no option 'tile'"),
    (["--scheduler", "sarathi,"], "scheduler '' is unknown"),
    (["--scheduler", "orca", "--enable-prefix-caching"], "prefix_cache needs paged memory"),
    (["--profile", "nope"], "profile 'nope': neither a file nor one of fast"),
    (["--qps", "-1"], "'--qps': a rate must be above 0 requests per second, not -1"),
    (["--qps", "0"], "'--qps': a rate must be above 0"),
    (["--qps", "nan"], "'--qps': 'nan' is neither a number nor FROM:TO:STEP"),
    (["--qps", "x"], "'--qps': 'x' is neither a number nor FROM:TO:STEP"),
    (["--qps", "1:2"], "'--qps': '1:2' is neither a number nor FROM:TO:STEP"),
    (["--qps", "2:1:0.1"], "write the lower rate first"),
    (["--qps", "1:2:0.000001"], "more than 1000 rates"),
    (["--requests", "0"], "'--requests': 0 is not in the range"),
    (["--until", "inf"], "'--until': it must be a number, not 'inf'"),
    (["--until", "-3"], "'--until': it must be above 0"),
    (["--jobs", "0"], "'--jobs'"),
    (["--num-gpu-blocks", "10"], "8149 tokens need 510 KV blocks, and a request can have 9"),
    (["--lengths", "fixed:300000,1"], "a prompt of 300000 and an output of 1 tokens cannot run under sarathi"),
    (["--lengths", "fixed:0,1"], "must be at least 1 token"),
    (["--lengths", "fixed:1"], "write fixed:PROMPT,OUTPUT"),
    (["--lengths", "fixed:1,x"], "must be a whole number, not 'x'"),
    (["--lengths", "nope"], "lengths 'nope' is unknown; choose from sharegpt, fixed, conversations"),
    (["--lengths", "conversations:turns=0"], "lengths conversations: turns must be at least 1, not 0"),
    (["--lengths", "conversations:turns=1.5"], "turns must be a whole number, not '1.5'"),
    (["--lengths", "conversations:size=3"], "lengths conversations has no option 'size'; it takes turns, system"),
    (["--arrivals", "nope"], "--arrivals 'nope' is unknown; choose from clipped, poisson"),
    (["--arrivals", "poisson:cv=1"], "--arrivals poisson has no option 'cv'; it takes none"),
    (["--arrivals", "gamma:cv=-1"], "--arrivals gamma: cv must be above 0, not -1"),
    (["--arrivals", "gamma:cv=x"], "--arrivals gamma: cv must be a number, not 'x'"),
    (["--arrivals", "trace"], "--arrivals trace needs --trace FILE"),
    (["--users", "a:0.5:1"], "shares must add up to 1, not 0.5"),
    (["--users", "a:2:1,b:-1:1"], "user a: share must be between 0 and 1, not 2"),
    (["--users", "a:1:0"], "user a: the TBT limit must be above 0 seconds, not 0"),
    (["--users", "a:1"], "user 'a:1': write NAME:SHARE:TBT_SECONDS"),
    (["--users", "a:0.5:1,a:0.5:1"], "user a is named twice"),
    (["--capacity", "ttft.p51<1"], "no figure 'ttft.p51'"),
    (["--csv", "runs.txt"], "runs.txt: the name must end with .csv"),
    (["--plot", "runs.csv"], "runs.csv: the name must end with .png or .svg or .pdf"),
    (["--timeline", "nowhere/t.csv"], "nowhere/t.csv: there is no folder nowhere"),
    (["--trace", "nothing.csv"], "nothing.csv: No such file or directory"),
    (["--bogus"], "No such option '--bogus'"),
]


class TestRefusals:
    @pytest.mark.parametrize(("args", "message"), REFUSED, ids=lambda value: " ".join(value)[:40])
    def test_bad_input_is_one_line_that_names_it_and_leaves_no_file(
        self, args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        outputs = ["--csv", "out.csv", "--plot", "out.png", "--timeline", "out.svg"]
        done = run("engine", *outputs, *args)
        assert done.exit_code == 2
        assert done.stderr.startswith("simulate engine: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("300000,5,9", "trace.csv:5: a prompt of 300000 and an output of 5 tokens cannot run under sarathi"),
            ("many,5,9", "trace.csv:5: num_prefill_tokens must be a whole number of at least 1, not 'many'"),
            ("10", "trace.csv:5: the row has 1 of the header's 3 columns"),
        ],
    )
    def test_a_bad_row_of_a_trace_is_named(self, trace: Path, row: str, message: str) -> None:
        trace.write_text(TRACE + row + "\n")
        done = run("engine", "--trace", str(trace), *SHORT)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr

    def test_a_prompt_longer_than_the_budget_is_refused_where_prompts_are_not_chunked(self) -> None:
        limits = ["--max-num-batched-tokens", "128", "--lengths", "fixed:290,990"]
        assert run("engine", "--scheduler", "sarathi", *limits, *SHORT).exit_code == 0
        refused = run("engine", "--scheduler", "sarathi,vllm", *limits, *SHORT)
        assert refused.exit_code == 2
        assert "under vllm: this scheduler does not chunk" in refused.stderr

    def test_lengths_have_one_source(self, trace: Path) -> None:
        for command in ("engine", "region"):
            refused = run(command, "--trace", str(trace), "--lengths", "sharegpt")
            assert refused.exit_code == 2
            assert "exclude each other" in refused.stderr

    def test_a_file_that_was_there_stays_when_it_cannot_be_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "runs.csv"
        path.write_text("precious")
        assert run("engine", "--csv", str(path), "--qps", "-1").exit_code == 2
        assert path.read_text() == "precious"


class TestRegion:
    PAPER = ("region", "--profile", "codellama-34b-a100", "--lengths", "fixed:290,990", "--k-max", "100")

    def test_the_json_has_the_corners_of_every_budget_and_the_capacity_of_full_tiles(self) -> None:
        document = json.loads(run(*self.PAPER, "--b-max", "128,512", "--json").stdout)
        assert [region["b_max"] for region in document["regions"]] == [128, 512]
        corner = document["regions"][0]["vertices"][1]
        assert (corner["prefill_tokens"], corner["decodes"]) == (29, 99)
        assert corner["decode_tokens_per_ms"] == pytest.approx(99 / 46.75)
        assert document["load"] == {"prompt_tokens": 290, "output_tokens": 990}
        assert document["rad"]["tile_tokens"] == 128

    def test_the_table_says_what_full_tiles_carry(self) -> None:
        done = run("region", "--profile", "tiles-128", "--lengths", "fixed:576,185")
        assert "36.250 req/s, and no scheduler more" in done.stdout

    def test_drawn_lengths_are_averaged_by_the_seed(self) -> None:
        one, two = (run("region", "--json", "--seed", "3").stdout for _ in range(2))
        assert one == two
        assert json.loads(one)["load"]["prompt_tokens"] == pytest.approx(2340, rel=0.05)

    def test_a_trace_gives_the_lengths(self, trace: Path) -> None:
        document = json.loads(run("region", "--trace", str(trace), "--json").stdout)
        assert document["load"]["prompt_tokens"] == 800

    def test_it_can_be_drawn(self, tmp_path: Path) -> None:
        assert run(*self.PAPER, "--plot", str(tmp_path / "region.pdf")).exit_code == 0
        assert (tmp_path / "region.pdf").read_bytes().startswith(b"%PDF")

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--b-max", "0"], "'--b-max': each must be at least 1, not 0"),
            (["--b-max", "x"], "'--b-max': each must be a whole number, not 'x'"),
            (["--k-max", "1"], "'--k-max'"),
            (["--profile", "nope"], "profile 'nope'"),
            (["--plot", "region.txt"], "must end with .png"),
            (["--trace", "nothing.csv"], "nothing.csv: No such file"),
        ],
    )
    def test_bad_input_is_one_line_that_names_it(self, args: list[str], message: str) -> None:
        done = run("region", *args)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
