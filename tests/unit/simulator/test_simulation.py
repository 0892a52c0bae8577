"""The simulation: what must hold of every run, and cases whose answer is known."""

import re
from dataclasses import replace
from itertools import islice
from math import inf
from pathlib import Path

import pytest

from fairlead_engine.batch_time import BatchTime, Linear
from fairlead_engine.batch_time.profiles import CODELLAMA_34B_A100, MISTRAL_7B_RTX6000_ADA
from fairlead_engine.batching import Core
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.state import State
from fairlead_engine.types import Batch
from fairlead_simulator.arrivals import Arrivals, Clipped, Deterministic, Mmpp, Poisson
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.results import Figures
from fairlead_simulator.setup import Setup
from fairlead_simulator.simulation import Scenario, StalledError, drive, simulate
from fairlead_simulator.workload import PAPER_A_USERS, Conversations, Fixed, LengthSource, ShareGpt, User, Workload

SERVICE_SECONDS = 0.01
ENDLESS = Limits(max_num_seqs=100_000, num_gpu_blocks=10_000_000)


def setup(scheduler: str = "sarathi", batch_time: BatchTime = MISTRAL_7B_RTX6000_ADA, **limits: int) -> Setup:
    return Setup(scheduler, (), "test", batch_time, replace(SCHEDULERS[scheduler].limits, **limits))


def run(
    engine: Setup,
    qps: float = 1.6,
    requests: int = 300,
    arrivals: Arrivals | None = None,
    lengths: LengthSource | None = None,
    until: float | None = None,
    seed: int = 42,
) -> Figures:
    workload = Workload(arrivals or Clipped(), lengths or ShareGpt(), PAPER_A_USERS, requests, seed)
    return simulate(Scenario(engine, workload, qps, until))


def single_server(qps: float, requests: int, arrivals: Arrivals) -> Figures:
    """One request at a time, each one batch of the same time: a queue with one server and constant service."""
    engine = setup(batch_time=Linear(SERVICE_SECONDS, 0.0), max_num_seqs=1)
    engine = replace(engine, first_token_with_prefill=True)
    return run(engine, qps, requests, arrivals, Fixed(Lengths(1, 1)))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
class TestEveryScheduler:
    def test_two_runs_of_a_seed_are_equal_bit_for_bit_and_another_seed_differs(self, scheduler: str) -> None:
        one = run(setup(scheduler), requests=60)
        assert one == run(setup(scheduler), requests=60)
        assert one != run(setup(scheduler), requests=60, seed=43)

    def test_every_request_ends_with_all_its_tokens(self, scheduler: str) -> None:
        figures = run(setup(scheduler), requests=60)
        workload = Workload(Clipped(), ShareGpt(), requests=60)
        lengths = [call.lengths for call in workload.calls(1.6)]
        assert figures.completed == 60
        output_tokens = sum(item.output_tokens for item in lengths)
        tokens = output_tokens + sum(item.prompt_tokens for item in lengths)
        assert figures.output_tokens_per_second * figures.sim_seconds == pytest.approx(output_tokens)
        assert figures.tokens_per_second * figures.sim_seconds == pytest.approx(tokens)

    def test_memory_stays_within_its_limit_where_it_is_scarce(self, scheduler: str) -> None:
        engine = setup(scheduler, num_gpu_blocks=1100)
        figures = run(engine, qps=3.0, requests=60)
        assert figures.completed == 60
        assert 0.4 < figures.kv_used.max <= 1

    def test_the_first_token_does_not_come_before_the_prompt_is_complete(self, scheduler: str) -> None:
        figures = run(setup(scheduler), requests=60)
        assert figures.first_token.mean > figures.ttft.mean > 0
        with_prefill = run(replace(setup(scheduler), first_token_with_prefill=True), requests=60)
        assert with_prefill.first_token == with_prefill.ttft


@pytest.mark.parametrize("arrivals", [Poisson(), Mmpp(), Deterministic()])
def test_the_mean_in_the_system_is_arrivals_times_sojourn(arrivals: Arrivals) -> None:
    # one server, so that a request's sojourn is its TTFT: Little's law holds exactly on every path
    figures = single_server(80.0, 2000, arrivals)
    assert figures.in_system.mean * figures.sim_seconds == pytest.approx(2000 * figures.ttft.mean)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_server_with_constant_service_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    figures = single_server(load / SERVICE_SECONDS, 20_000, Poisson())
    wait_seconds = load * SERVICE_SECONDS / (2 * (1 - load))
    assert figures.ttft.mean == pytest.approx(SERVICE_SECONDS + wait_seconds, rel=0.03)


def test_regular_arrivals_at_a_server_that_keeps_up_do_not_wait() -> None:
    figures = single_server(99.0, 500, Deterministic())
    assert figures.ttft.p99 == pytest.approx(SERVICE_SECONDS)
    assert figures.in_system.max == 1
    assert figures.in_system.is_bounded


def test_the_backlog_of_a_server_that_does_not_keep_up_grows_with_time() -> None:
    figures = single_server(150.0, 3000, Deterministic())
    assert not figures.in_system.is_bounded
    assert figures.in_system.quarters == pytest.approx([125, 375, 625, 875], rel=0.02)
    assert figures.in_system.end == pytest.approx(1000, rel=0.01)


def test_gaps_between_tokens_are_batch_times_and_the_first_token_is_no_gap() -> None:
    engine = setup(batch_time=Linear(0.06, 0.0))
    figures = run(engine, qps=0.5, requests=40, lengths=Fixed(Lengths(10, 3)), arrivals=Deterministic())
    strict, relaxed = figures.tbt["strict"], figures.tbt["relaxed"]
    assert relaxed.p50 == relaxed.p99 == pytest.approx(0.06, rel=0.002)
    assert (strict.share_over or 0, relaxed.share_over) == (0, 0)
    assert figures.batches.count == 40 * 4  # a prompt, and three decodes: this engine's prompts yield no token


def test_the_share_above_a_limit_is_that_of_each_kind_of_user() -> None:
    users = (User("hasty", 0.5, 0.05), User("calm", 0.5, 0.07))
    workload = Workload(Deterministic(), Fixed(Lengths(10, 3)), users, 40)
    figures = simulate(Scenario(setup(batch_time=Linear(0.06, 0.0)), workload, 0.5))
    assert {name: gaps.share_over for name, gaps in figures.tbt.items()} == {"hasty": 1.0, "calm": 0.0}


def test_a_run_stops_when_it_is_told_to() -> None:
    figures = run(setup(), requests=5000, until=30.0)
    assert figures.sim_seconds == pytest.approx(30.0, abs=0.2)
    assert 0 < figures.completed < 100
    assert figures.in_system.end > 0


def test_who_is_in_the_system_is_counted_where_the_run_stops_or_when_the_last_request_arrives() -> None:
    assert single_server(99.0, 500, Deterministic()).in_system.end == 1
    engine = replace(setup(batch_time=Linear(0.01, 0.0)), first_token_with_prefill=True)
    stopped = run(engine, 50.0, 500, Deterministic(), Fixed(Lengths(1, 1)), until=2.015)
    assert stopped.in_system.end == 0


def test_a_run_that_is_stopped_while_nothing_runs_ends_at_that_time() -> None:
    figures = single_server(0.1, 5, Deterministic())
    assert figures.completed == 5
    engine = replace(setup(batch_time=Linear(0.01, 0.0)), first_token_with_prefill=True)
    assert run(engine, 0.1, 5, Deterministic(), Fixed(Lengths(1, 1)), until=15.0).sim_seconds == 15.0


def test_preempted_requests_end_and_are_counted() -> None:
    figures = run(setup(num_gpu_blocks=130), qps=50.0, requests=60, lengths=Fixed(Lengths(100, 400)))
    assert figures.completed == 60
    assert figures.preemptions > 0


def test_conversations_find_their_prefix_in_the_cache_and_answer_sooner() -> None:
    conversations = Conversations(turns=4, system=1024, active=8)
    plain = run(setup(), qps=4.0, requests=200, lengths=conversations)
    cached = run(replace(setup(), prefix_cache=True), qps=4.0, requests=200, lengths=conversations)
    assert plain.cached_tokens == 0
    prompts = sum(call.lengths.prompt_tokens for call in Workload(Clipped(), conversations, requests=200).calls(4.0))
    assert 0.5 < cached.cached_tokens / prompts < 1
    assert cached.ttft.mean < 0.7 * plain.ttft.mean


def test_sarathi_at_the_corner_of_the_region_runs_29_prompt_tokens_beside_99_decodes() -> None:
    # arXiv 2504.07347, section 6: at most 100 requests per batch; a larger budget would not be stable
    def backlog(budget_tokens: int) -> Figures:
        limits = replace(ENDLESS, max_num_batched_tokens=budget_tokens, max_requests_per_batch=100)
        engine = Setup("sarathi", (), "test", CODELLAMA_34B_A100, limits)
        return run(engine, 1 / 0.4675, 700, Deterministic(), Fixed(Lengths(290, 990)))

    stable, unstable = backlog(128), backlog(1024)
    assert stable.in_system.is_bounded
    assert stable.in_system.max <= 101
    assert not unstable.in_system.is_bounded


class Idle(Scheduler):
    """A scheduler with a mistake."""

    def schedule(self, state: State, now: float) -> Batch:
        return Batch()


def test_a_scheduler_that_leaves_requests_waiting_for_ever_is_told_so() -> None:
    workload = Workload(Clipped(), ShareGpt(), requests=300)
    with pytest.raises(StalledError, match=r"Idle gives no batch at .* 300 requests wait"):
        drive(Core(Limits(), Idle()), MISTRAL_7B_RTX6000_ADA, workload, 1.6)


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/simulator.md", "exec"), {})
    assert 0.1 < float(capsys.readouterr().out) < 2


def test_samples_over_time_stay_few_however_long_the_run() -> None:
    timeline = single_server(10.0, 20_000, Deterministic()).timeline
    assert 1000 < len(timeline.seconds) <= 4001
    assert timeline.seconds[-1] > 1900


def test_the_curve_of_the_ttft_goes_from_the_shortest_to_the_longest() -> None:
    figures = run(setup(), requests=50)
    assert list(figures.ttft_curve) == sorted(figures.ttft_curve)
    assert figures.ttft_curve[100] == pytest.approx(figures.ttft.p50)


def test_nothing_completed_has_no_latency() -> None:
    figures = run(setup(), requests=50, until=0.01)
    assert figures.completed == 0
    assert figures.ttft.p50 is None
    assert list(islice(figures.ttft_curve, 1)) == []
    assert figures.tbt["strict"].p99 is None
    assert figures.sim_seconds < inf
