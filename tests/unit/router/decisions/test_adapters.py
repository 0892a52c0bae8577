"""Requests for LoRA adapters go where these are, as long as it is worth it."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.adapters import LoadedAdapters
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.decisions.types import EndpointView, Placement, RequestView


def decider(**loaded: str) -> Decider:
    """Endpoints that have said which adapters run there, and that there is place for two."""
    made = Decider(POLICIES["rad"](Random(0)))
    made.set_endpoints(EndpointView(uid, f"{uid}:1", EndpointState.READY, uid) for uid in loaded)
    reports = {uid: EngineReport(adapters=frozenset(names.split()), most_adapters=2) for uid, names in loaded.items()}
    made.note_reports(reports, 0.0)
    return made


def places(made: Decider, model: str, number: int, now: float = 0.0, **how: object) -> list[str]:
    found = []
    for _ in range(number):
        decision = made.submit(RequestView("r", model, "c", now, streamed=True, prompt_bytes=400, **how), now)
        assert isinstance(decision, Placement)
        found.append(decision.ticket.endpoint.uid)
    return found


def test_a_request_goes_where_its_adapter_is():
    made = decider(a="", b="sql", c="")
    assert places(made, "sql", 1) == ["b"]


def test_an_adapter_is_loaded_elsewhere_when_that_is_quicker():
    made = decider(a="", b="sql", c="")
    first, *others = places(made, "sql", 300)
    assert first == "b"
    assert set(others) == {"a", "b", "c"}


def test_an_adapter_that_nobody_has_goes_where_there_is_a_place_for_it():
    made = decider(a="x y", b="x", c="x y")
    made.note_reports({"a": EngineReport(adapters=frozenset({"x", "y", "fr"}), most_adapters=2)}, 0.0)
    made.note_reports(
        {
            uid: EngineReport(adapters=frozenset(names), most_adapters=2)
            for uid, names in zip("abc", ("xy", "x", "xy"), strict=True)
        },
        0.1,
    )
    assert places(made, "fr", 1) == ["b"]


def test_an_adapter_stays_where_it_was_when_nothing_runs_with_it_any_more():
    made = decider(a="", b="sql", c="")
    decision = made.submit(RequestView("r", "sql", "c", 0.0), 0.0)
    made.note_reports({uid: EngineReport(most_adapters=2) for uid in "abc"}, 0.1)
    made.end(decision.ticket, Reason.COMPLETED, 0.2)
    assert places(made, "sql", 1) == ["b"]


def test_a_base_model_goes_anywhere():
    made = decider(a="sql", b="sql", c="sql")
    assert set(places(made, "base", 3)) == {"a", "b", "c"}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans())), st.integers(1, 3))
def test_what_runs_is_loaded_and_no_more_is_remembered_than_there_are_places(steps, slots):
    loaded, running, max_running = LoadedAdapters(), Counter(), 0
    for adapter, begins in steps:
        if begins:
            loaded.begin(adapter, slots)
            running[adapter] += 1
            max_running = max(max_running, len(loaded.running))
        elif running[adapter]:
            loaded.end(adapter)
            running[adapter] -= 1
    assert loaded.running == {adapter for adapter, number in running.items() if number}
    assert all(loaded.has(adapter) for adapter in loaded.running)
    assert sum(loaded.has(adapter) for adapter in "abcd") <= max(slots, max_running)
