"""Which fault hits which request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_engine.mock.faults import Fault, FaultName, Faults, parse_fault

OF_REQUESTS = [
    FaultName.ERROR,
    FaultName.TOO_MANY_REQUESTS,
    FaultName.HANG,
    FaultName.RESET,
    FaultName.TRUNCATE,
    FaultName.CRASH,
]


def hits(faults: Faults, requests: int) -> list[FaultName | None]:
    decided = [faults.of_request() for _ in range(requests)]
    return [None if fault is None else fault.name for fault in decided]


def test_without_faults_nothing_is_hit() -> None:
    faults = Faults()
    assert hits(faults, 3) == [None, None, None]
    assert not faults.fails_probe()
    assert (faults.slowdown(1e6), faults.start_delay_seconds) == (1.0, 0.0)


@pytest.mark.parametrize("name", OF_REQUESTS)
def test_a_fault_hits_every_request_unless_told_otherwise(name: FaultName) -> None:
    assert hits(Faults([Fault(name)]), 3) == [name] * 3


def test_next_counts_hits_and_then_the_fault_is_spent() -> None:
    faults = Faults([Fault(FaultName.ERROR, next=2)])
    assert hits(faults, 4) == [FaultName.ERROR, FaultName.ERROR, None, None]
    assert faults.hits == [2]
    assert faults.requests == 4


def test_the_first_rule_that_hits_decides() -> None:
    faults = Faults([Fault(FaultName.ERROR, next=1), Fault(FaultName.HANG)])
    assert hits(faults, 3) == [FaultName.ERROR, FaultName.HANG, FaultName.HANG]
    assert faults.hits == [1, 2]


@given(st.integers(), st.floats(0.01, 0.99))
def test_the_same_seed_hits_the_same_requests(seed: int, probability: float) -> None:
    rules = [Fault(FaultName.RESET, probability=probability)]
    assert hits(Faults(rules, seed=seed), 50) == hits(Faults(rules, seed=seed), 50)


def test_seeds_hit_different_requests_and_about_as_many_as_the_probability_says() -> None:
    rules = [Fault(FaultName.RESET, probability=0.3)]
    first, second = hits(Faults(rules, seed=1), 2000), hits(Faults(rules, seed=2), 2000)
    assert first != second
    assert 500 < 2000 - first.count(None) < 700


def test_a_rule_hits_the_same_requests_whatever_stands_behind_it() -> None:
    rule = Fault(FaultName.ERROR, probability=0.5)
    alone = hits(Faults([rule]), 100)
    together = hits(Faults([rule, Fault(FaultName.HANG, probability=0.5)]), 100)
    assert [name is FaultName.ERROR for name in together] == [name is FaultName.ERROR for name in alone]


def test_probes_are_hit_by_their_own_fault_and_count_apart() -> None:
    faults = Faults([Fault(FaultName.UNHEALTHY, next=2)])
    assert [faults.fails_probe() for _ in range(3)] == [True, True, False]
    assert faults.of_request() is None


def test_a_slowdown_grows_from_the_moment_it_is_set() -> None:
    faults = Faults([Fault(FaultName.SLOWDOWN, 0.5)], now=100.0)
    assert [faults.slowdown(now) for now in (100.0, 102.0, 110.0)] == [1.0, 2.0, 6.0]
    faults.replace([Fault(FaultName.SLOWDOWN, 0.5)], seed=0, now=110.0)
    assert faults.slowdown(110.0) == 1.0


def test_replacing_faults_forgets_what_they_hit() -> None:
    faults = Faults([Fault(FaultName.ERROR, next=1)])
    hits(faults, 5)
    faults.replace([Fault(FaultName.ERROR, next=1)], seed=3, now=0.0)
    assert (faults.hits, faults.requests, faults.seed) == ([0], 0, 3)
    assert hits(faults, 2) == [FaultName.ERROR, None]


def test_a_slow_start_says_how_long() -> None:
    assert Faults([Fault(FaultName.SLOW_START, 2.5)]).start_delay_seconds == 2.5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang", Fault(FaultName.HANG)),
        ("error=503", Fault(FaultName.ERROR, 503)),
        ("too-many-requests=7,next=3", Fault(FaultName.TOO_MANY_REQUESTS, 7, next=3)),
        ("reset,probability=0.25,after=10", Fault(FaultName.RESET, probability=0.25, after=10)),
        ("slow-start=1.5", Fault(FaultName.SLOW_START, 1.5)),
    ],
)
def test_a_fault_is_read_from_one_word_of_a_command_line(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "unknown fault 'nope'; choose from slow-start, unhealthy, error"),
        ("", "unknown fault ''"),
        ("error=404", r"the value \(a status\) must be at least 500 and at most 599, not 404"),
        ("error=500.5", "must be a whole number, not 500.5"),
        ("error=many", "the value must be a number, not 'many'"),
        ("error=nan", "must be at least 500"),
        ("hang=3", "hang takes no value, not 3"),
        ("slow-start", r"slow-start needs a value \(seconds\)"),
        ("slow-start=-1", "must be at least 0, not -1"),
        ("slow-start=inf", "must be at least 0"),
        ("slowdown=0.1,next=3", "probability and next are for faults of requests and probes"),
        ("hang,probability=0", "probability must be above 0 and at most 1, not 0"),
        ("hang,probability=2", "probability must be above 0 and at most 1, not 2"),
        ("hang,probability=x", "probability must be a number, not 'x'"),
        ("hang,next=0", "next must be at least 1, not 0"),
        ("hang,next=1.5", "next must be a whole number, not '1.5'"),
        ("reset,after=-1", "after must be at least 0, not -1"),
        ("error,after=1", "after is for faults within an answer"),
        ("hang,often=1", "'often=1' is not one of probability=P, next=N, after=CHUNKS"),
        ("hang,next=1,next=2", "each at most once"),
    ],
)
def test_a_wrong_fault_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_fault(text)
