"""Which engines are created and removed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.plan.engines import plan_engines, slot
from fairlead_operator.types import Engine, EnginePlan, Wanted


def engine(in_slot: int, revision: str = "new", *, age: float = 0.0, ready: bool = True) -> Engine:
    name = f"chat-engine-{in_slot}"
    return Engine(name=name, uid=name, revision=revision, created_seconds=1000.0 - age, ready=ready)


def plan(replicas: int, *engines: Engine, surge: int = 1, unavailable: int = 0, **in_flight: int) -> EnginePlan:
    """Plan a step; `e2=3` says that three requests run on the engine in slot 2."""
    wanted = Wanted(replicas, "new", surge, unavailable)
    running = {f"chat-engine-{slot.removeprefix('e')}": count for slot, count in in_flight.items()}
    return plan_engines("chat", wanted, engines, running)


def drained(planned: EnginePlan) -> list[str]:
    return [removal.engine.name for removal in planned.drain]


def draining(of: Engine) -> Engine:
    return replace(of, draining_since_seconds=999.0)


def test_missing_engines_are_created_in_the_lowest_free_slots() -> None:
    assert plan(3, engine(1)).create == ("chat-engine-0", "chat-engine-2")


def test_a_slot_is_not_used_again_while_its_engine_is_terminating() -> None:
    leaving = replace(engine(0), terminating=True)
    assert plan(1, leaving).create == ("chat-engine-1",)


def test_an_engine_that_drains_is_replaced_at_once_and_does_not_come_back() -> None:
    planned = plan(2, engine(0), draining(engine(1)))
    assert planned == EnginePlan(create=("chat-engine-2",))


def test_engines_as_declared_need_nothing() -> None:
    assert plan(2, engine(0), engine(1)) == EnginePlan()


def test_scale_down_takes_the_engine_with_the_fewest_requests() -> None:
    engines = (engine(0, age=9), engine(1, age=5), engine(2, age=1))
    assert drained(plan(1, *engines, e0=1, e1=2, e2=7)) == ["chat-engine-0", "chat-engine-1"]


def test_scale_down_takes_the_newest_of_those_with_as_many_requests() -> None:
    assert drained(plan(1, engine(0, age=9), engine(1, age=5), engine(2, age=1))) == ["chat-engine-2", "chat-engine-1"]


def test_scale_down_takes_the_higher_slot_among_engines_of_one_second() -> None:
    assert drained(plan(2, engine(2), engine(10), engine(0))) == ["chat-engine-10"]


def test_scale_down_takes_first_what_does_not_serve() -> None:
    assert drained(plan(1, engine(0, age=9, ready=False), engine(1, age=1), e0=1)) == ["chat-engine-0"]


def test_an_engine_that_ended_is_removed_and_another_is_created() -> None:
    ended = replace(engine(0), ended=True, ready=False)
    planned = plan(1, ended)
    assert planned.create == ("chat-engine-1",)
    assert [removal.engine.name for removal in planned.remove] == ["chat-engine-0"]


def test_a_rollout_first_adds_one_engine() -> None:
    planned = plan(2, engine(0, "old"), engine(1, "old"))
    assert planned == EnginePlan(create=("chat-engine-2",))


def test_a_rollout_waits_for_the_new_engine_before_it_drains_an_old_one() -> None:
    assert plan(2, engine(0, "old"), engine(1, "old"), engine(2, ready=False)) == EnginePlan()


def test_a_rollout_drains_the_old_engine_with_the_fewest_requests_when_a_new_one_serves() -> None:
    planned = plan(2, engine(0, "old", age=9), engine(1, "old", age=5), engine(2), e0=1, e1=2)
    assert drained(planned) == ["chat-engine-0"]
    assert planned.create == ()


def test_a_rollout_goes_on_when_the_old_engine_has_drained_for_it_keeps_its_gpu_until_then() -> None:
    rest = (engine(1, "old"), engine(2))
    assert plan(2, draining(engine(0, "old")), *rest) == EnginePlan()
    assert plan(2, *rest) == EnginePlan(create=("chat-engine-0",))


def test_a_larger_surge_starts_more_engines_at_once() -> None:
    olds = [engine(number, "old") for number in range(3)]
    assert len(plan(3, *olds, surge=2).create) == 2
    assert len(plan(3, *olds, surge=9).create) == 3


def test_without_a_surge_an_engine_goes_first_and_another_follows_when_its_gpu_is_free() -> None:
    old, other = engine(0, "old"), engine(1, "old", age=5)
    assert drained(plan(2, old, other, surge=0, unavailable=1)) == ["chat-engine-0"]
    assert plan(2, draining(old), other, surge=0, unavailable=1) == EnginePlan()
    assert plan(2, other, surge=0, unavailable=1) == EnginePlan(create=("chat-engine-0",))
    assert plan(2, other, engine(0, ready=False), surge=0, unavailable=1) == EnginePlan()


def test_an_engine_whose_node_is_cordoned_is_replaced_before_it_goes() -> None:
    moving, other = replace(engine(0, age=1), cordoned=True), engine(1, age=9)
    assert plan(2, moving, other) == EnginePlan(create=("chat-engine-2",))
    assert plan(2, moving, other, engine(2, ready=False)) == EnginePlan()
    [removal] = plan(2, moving, other, engine(2)).drain
    assert (removal.engine, removal.why) == (moving, "its node is cordoned")


def test_a_node_that_is_uncordoned_in_time_keeps_its_engine() -> None:
    assert drained(plan(2, engine(0, age=9), engine(1, age=9), engine(2, age=1))) == ["chat-engine-2"]


def test_old_engines_that_never_served_make_room_at_once() -> None:
    planned = plan(2, engine(0, "old", ready=False), engine(1, "old", ready=False))
    assert drained(planned) == ["chat-engine-0", "chat-engine-1"]


def test_scaling_to_zero_drains_every_engine() -> None:
    assert drained(plan(0, engine(0), engine(1, "old"))) == ["chat-engine-1", "chat-engine-0"]


engines = st.lists(
    st.builds(
        lambda in_slot, revision, age, ready, terminating, ended, drains, cordoned: replace(
            engine(in_slot, revision, age=age, ready=ready and not ended),
            terminating=terminating,
            ended=ended,
            draining_since_seconds=999.0 if drains else None,
            cordoned=cordoned,
        ),
        st.integers(0, 12),
        st.sampled_from(["new", "old", "older"]),
        st.floats(0, 100),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda e: e.name,
)


def live(of: list[Engine]) -> list[Engine]:
    return [e for e in of if not e.terminating and not e.ended and not e.draining]


def with_gpus(of: list[Engine]) -> list[Engine]:
    return [e for e in of if not e.terminating and not e.ended]


@given(st.integers(0, 8), engines)
def test_no_name_is_given_twice(replicas: int, existing: list[Engine]) -> None:
    created = plan(replicas, *existing).create
    assert len(set(created)) == len(created)
    assert not set(created) & {e.name for e in existing}


rollouts = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)
"""maxSurge and maxUnavailable; not both are 0."""


@given(st.integers(0, 8), engines, rollouts)
def test_in_a_rollout_no_more_engines_exist_than_declared_and_the_surge_and_those_that_drain_count(
    replicas: int, existing: list[Engine], rollout: tuple[int, int]
) -> None:
    surge, unavailable = rollout
    created = len(plan(replicas, *existing, surge=surge, unavailable=unavailable).create)
    if created and any(e.revision != "new" or e.cordoned for e in live(existing)):
        assert len(with_gpus(existing)) + created <= replicas + surge


@given(st.integers(0, 8), engines, rollouts)
def test_a_step_leaves_as_many_serving_engines_as_must_be_or_all_there_were(
    replicas: int, existing: list[Engine], rollout: tuple[int, int]
) -> None:
    surge, unavailable = rollout
    serving = {e.name for e in live(existing) if e.ready}
    left = serving - set(drained(plan(replicas, *existing, surge=surge, unavailable=unavailable)))
    assert len(left) >= min(replicas - unavailable, len(serving))


@given(st.integers(0, 8), engines)
def test_what_goes_already_is_not_drained_again(replicas: int, existing: list[Engine]) -> None:
    going = {e.name for e in existing if e.terminating or e.ended or e.draining}
    assert not going & set(drained(plan(replicas, *existing)))


@given(st.integers(0, 8), engines)
def test_nothing_is_deleted_without_a_drain_but_what_ended(replicas: int, existing: list[Engine]) -> None:
    assert all(removal.engine.ended for removal in plan(replicas, *existing).remove)


@given(st.integers(0, 8), engines, rollouts)
def test_repeated_steps_end_at_the_declared_engines(
    replicas: int, existing: list[Engine], rollout: tuple[int, int]
) -> None:
    """Take steps in a world in which engines become ready, and those that drain or ended go."""
    surge, unavailable = rollout
    for _ in range(60):
        planned = plan(replicas, *existing, surge=surge, unavailable=unavailable)
        to_drain = set(drained(planned))
        existing = [replace(e, ready=True) for e in existing if not (e.draining or e.terminating or e.ended)]
        existing = [draining(e) if e.name in to_drain else e for e in existing]
        existing += [engine(slot(name)) for name in planned.create]
    assert plan(replicas, *existing) == EnginePlan()
    assert with_gpus(existing) == live(existing)
    assert [(e.revision, e.cordoned) for e in live(existing)] == [("new", False)] * replicas
