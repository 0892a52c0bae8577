"""The soak in its shortest form, and what its verdict lets pass and what not."""

import asyncio

import pytest

from soak.answers import DONE, Outcome, judge_stream, judge_whole, stream_events, whole_body
from soak.client import Record
from soak.pool import WorkerDeath
from soak.run import Plan, soak
from soak.turmoil import Damage
from soak.verdict import findings_of, growth, memory_of, quantile

ERROR = b'data: {"error":{"message":"lost","type":"server_error","code":"engine_disconnected","param":null}}\n\n'
EVENTS = stream_events("r", 5)


async def test_nothing_is_lost_or_left_open_while_engines_clients_files_and_workers_fail(tmp_path):
    plan = Plan(seconds=8, rate=25, pause_seconds=0.5, compares_memory=False)
    said: list[str] = []
    async with asyncio.timeout(120):
        report = await soak(plan, tmp_path, said.append)
    assert report.findings == []
    assert report.exit_status == 0
    assert report.requests["whole"] > 100
    assert min(report.engines_killed, report.engines_drained, report.workers_killed, report.deciders_killed) > 0


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"".join(EVENTS), Outcome.WHOLE),
        (b"".join(EVENTS[:2]) + ERROR, Outcome.ERROR_EVENT),
        (ERROR, Outcome.ERROR_EVENT),
        (b"".join(EVENTS[:2]), Outcome.WRONG),
        (b"".join(EVENTS[:-1]), Outcome.WRONG),
        (b"".join(EVENTS[:2] + EVENTS[3:]), Outcome.WRONG),
        (b"".join([EVENTS[0], *EVENTS]), Outcome.WRONG),
        (b"".join(EVENTS[1:2]) + ERROR, Outcome.WRONG),
        (b"".join(EVENTS[:2]) + ERROR + DONE, Outcome.WRONG),
        (b"".join(stream_events("s", 5)), Outcome.WRONG),
        (b"", Outcome.WRONG),
    ],
)
def test_a_stream_is_whole_or_cut_between_events_with_an_error_or_wrong(body, outcome):
    assert judge_stream(body, "r", 5)[0] is outcome


def test_an_answer_that_is_not_streamed_is_whole_to_the_byte_or_wrong():
    assert judge_whole(whole_body("r", 5), "r", 5) is Outcome.WHOLE
    assert judge_whole(whole_body("r", 5)[:-1], "r", 5) is Outcome.WRONG


def record(outcome: Outcome | None, **fields: object) -> Record:
    made = Record(
        "r", streamed=True, tokens=5, sent_at=10.0, port=1000, connected_at=9.0, outcome=outcome, ended_at=12.0
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


QUIET = Damage()
ENGINE_DIED = Damage(engine_deaths=[("engine-0", 11.0)])
WORKER_DIED = Damage(worker_deaths=[WorkerDeath(11.9, frozenset({1000}))])


@pytest.mark.parametrize(
    ("seen", "finished", "damage", "rules"),
    [
        (record(Outcome.WHOLE), True, QUIET, []),
        (record(Outcome.HUNG_UP), True, QUIET, []),
        (record(None), False, QUIET, ["every request ends"]),
        (record(Outcome.WRONG), True, ENGINE_DIED, ["every byte is the engine's"]),
        (record(Outcome.ERROR_EVENT), False, ENGINE_DIED, []),
        (record(Outcome.ERROR_EVENT), True, ENGINE_DIED, ["no answer is lost that its engine finished"]),
        (record(Outcome.ERROR_EVENT), False, QUIET, ["an answer fails only with an engine"]),
        (record(Outcome.REFUSED), False, ENGINE_DIED, []),
        (record(Outcome.REFUSED), False, WORKER_DIED, ["an answer fails only with an engine"]),
        (record(Outcome.BROKEN), True, WORKER_DIED, []),
        (record(Outcome.BROKEN, port=0), False, WORKER_DIED, []),
        (record(Outcome.BROKEN, port=0), False, QUIET, ["a connection breaks only with its worker"]),
        (record(Outcome.BROKEN, port=1001), False, WORKER_DIED, ["a connection breaks only with its worker"]),
        (record(Outcome.BROKEN, port=1001), True, WORKER_DIED, ["no answer is lost that its engine finished"]),
        (record(Outcome.BROKEN, connected_at=12.0), False, WORKER_DIED, ["a connection breaks only with its worker"]),
        (record(Outcome.BROKEN), False, ENGINE_DIED, ["a connection breaks only with its worker"]),
    ],
)
def test_a_request_may_end_badly_only_with_what_broke_under_it(seen, finished, damage, rules):
    found = findings_of([seen], {"r"} if finished else set(), damage)
    assert [finding.rule for finding in found] == rules


def test_memory_may_grow_by_5_percent_between_the_first_and_the_last_third():
    flat = [{"worker 1": 100_000_000 + noise} for noise in (0, 3, 1, 9, 0, 2)]
    grown = [{"worker 1": 100_000_000, "worker 2": 1}] * 3 + [{"worker 1": 106_000_000}] * 3
    assert growth(memory_of(flat)) == []
    (finding,) = growth(memory_of(grown))
    assert finding.what == "worker 1: 100.0 MB, at the end 106.0 MB"


def test_a_quantile_is_of_what_came_since():
    earlier = {0.1: 100.0, 1.0: 100.0, 10.0: 100.0}
    assert quantile({0.1: 150.0, 1.0: 199.0, 10.0: 200.0}, earlier, 0.5) == 0.1
    assert quantile({0.1: 150.0, 1.0: 199.0, 10.0: 200.0}, earlier, 0.99) == 1.0
