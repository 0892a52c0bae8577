"""What is kept of decisions, and for how long."""

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.breaker import Breaker, BreakerSettings
from fairlead_router.decisions.journal import MOST_SHOWN, Journal, Record, shown, weighed_now
from fairlead_router.decisions.ledger import Account
from fairlead_router.decisions.pace import Pace
from fairlead_router.decisions.types import Demand, EndpointView, Outcome, Rejection, RequestView, Slo, Ticket

GOOD = Outcome(Reason.COMPLETED, True, 1.0, 0.2, 0.05, 10)
LATE = Outcome(Reason.COMPLETED, False, 1.0, 0.9, 0.05, 10)


def account(name: str) -> Account:
    return Account(EndpointView(name, "x:1", EndpointState.READY, name), Breaker(BreakerSettings()), Pace())


def demand(request_id: str = "r", prefix: tuple[int, ...] = (), **cached: int) -> Demand:
    return Demand(RequestView(request_id, "m", "c", 0.0, Slo(0.5, None), prefix=prefix), 100, 20, cached)


def placed(journal: Journal, asked: Demand, among: list[Account], scores: list[float], at: float = 0.0) -> Record:
    before = weighed_now(among, scores)
    return journal.placed(Ticket(asked.request, among[0], trial=False), asked, before, at, 0.0)


def ran(journal: Journal, request_id: str, outcome: Outcome | None, at: float = 0.0) -> None:
    record = placed(journal, demand(request_id), [account("a")], [1.0], at)
    if outcome is not None:
        journal.ended(record, outcome)


def test_endpoints_are_noted_as_they_were():
    journal, endpoint = Journal(), account("a")
    endpoint.in_flight, endpoint.load.decodes = 3, 2
    placed(journal, demand(a=64), [endpoint], [-0.5])
    endpoint.in_flight, endpoint.load.decodes = 4, 3
    endpoint.changed()
    [record] = journal.of("r")
    [weighed] = shown(record, 0.0)["candidates"]
    assert weighed == {
        "endpoint": "a", "score": -0.5, "inFlight": 3, "prefillTokens": 0, "decodes": 2, "kvTokens": 0, "cachedTokens": 64,
    }  # fmt: skip


def test_of_many_endpoints_the_best_are_noted():
    accounts = [account(f"{number:02}") for number in range(40)]
    journal = Journal()
    placed(journal, demand(), accounts, [float(number) for number in range(40)])
    told = shown(journal.of("r")[0], 0.0)
    assert [each["endpoint"] for each in told["candidates"]] == [f"{39 - place:02}" for place in range(MOST_SHOWN)]
    assert told["candidatesNotShown"] == 40 - MOST_SHOWN


def test_requests_that_went_well_make_room_for_all_and_others_for_their_like():
    journal = Journal(most_kept=2)
    ran(journal, "late", LATE, at=0.0)
    for number in range(5):
        ran(journal, f"good-{number}", GOOD, at=1.0 + number)
    assert [record.request_id for record in journal.records()] == ["good-4", "good-3", "late"]


def test_a_refusal_is_kept_with_its_reason():
    journal = Journal()
    journal.refused(demand().request, Rejection(Reason.SLO_UNREACHABLE, "2 s late", 7), 3.0, demand(), 0.0)
    told = shown(journal.of("r")[0], 1000.0)
    assert (told["verdict"], told["reason"], told["message"], told["retryAfterSeconds"], told["time"]) == (
        "reject", "slo_unreachable", "2 s late", 7, 1003.0,
    )  # fmt: skip


def test_a_request_that_was_sent_again_has_a_record_for_each_attempt():
    journal = Journal()
    ran(journal, "r", LATE, at=1.0)
    ran(journal, "r", None, at=2.0)
    assert [record.at for record in journal.of("r")] == [2.0, 1.0]


def test_an_outcome_is_told_with_its_record():
    journal = Journal()
    ran(journal, "r", LATE)
    assert shown(journal.of("r")[0], 0.0)["outcome"] == {
        "reason": "completed", "good": False, "ttftSeconds": 0.9, "worstTbtSeconds": 0.05, "durationSeconds": 1.0,
        "tokenChunks": 10,
    }  # fmt: skip


def test_nothing_of_a_prompt_is_kept_not_even_names_of_its_blocks():
    journal = Journal()
    record = placed(journal, demand(prefix=(1, 2, 3)), [account("a")], [1.0])
    assert not any(getattr(record, slot) == (1, 2, 3) for slot in Record.__slots__)
    assert not any(isinstance(getattr(record, slot), RequestView | Demand | Ticket) for slot in Record.__slots__)
