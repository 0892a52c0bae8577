"""What workers count adds up to what one process would have counted, and never falls."""

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.contract import EndpointState, Metric, Reason, RetryReason
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage
from fairlead_router.telemetry import Occupancy, Telemetry, merge
from fairlead_router.telemetry.exposition import SLICE_SAMPLES

CONFIG = RouterConfig(
    pool="p", models=("m",), classes=(ServiceClass(name="a", ttft="420ms"), ServiceClass(name="b", tbt="33ms"))
)
OTHER_LIMITS = CONFIG.model_copy(update={"classes": (ServiceClass(name="a", ttft="777ms"),)})
ENGINES = tuple(EndpointView(f"u{n}", f"a:{n}", EndpointState.READY, f"chat-{n}") for n in range(3))
REQUEST = RequestView("r", "m", "a", arrived_at=0.0)


def telemetry(engines=ENGINES, config=CONFIG):
    return Telemetry(config, lambda: engines)


def sent(snapshot):
    """A snapshot as it arrives from another process."""
    return orjson.loads(orjson.dumps(snapshot))


# Sixteenths of a second add up without rounding, in whatever order.
seconds = st.integers(0, 400).map(lambda sixteenths: sixteenths / 16)
classes = st.sampled_from("ab")
engines = st.sampled_from([engine.name for engine in ENGINES])
events = st.lists(
    st.one_of(
        st.tuples(st.just("offered"), classes),
        st.tuples(st.just("rejected"), classes, st.sampled_from(list(Reason))),
        st.tuples(st.just("retried"), st.sampled_from(list(RetryReason))),
        st.tuples(st.just("ended"), classes, seconds, st.booleans()),
        st.tuples(st.just("first"), classes, engines, seconds),
        st.tuples(st.just("gap"), classes, engines, seconds, st.integers(1, 5)),
        st.tuples(st.just("placed"), classes, seconds),
        st.tuples(st.just("lag"), seconds),
    ),
    max_size=40,
)


def happen(to, event):
    what, *how = event
    if what == "ended":
        service_class, duration, known = how
        outcome = Outcome(Reason.COMPLETED, known, duration, ttft_seconds=0.25, worst_tbt_seconds=0.5, token_chunks=9)
        to.ended(REQUEST._replace(service_class=service_class), outcome, Usage(3, 4), known_model=known)
    elif what in {"first", "gap"}:
        service_class, engine, *observed = how
        getattr(to.stream(REQUEST._replace(service_class=service_class), engine), what)(*observed)
    elif what == "placed":
        service_class, waited = how
        to.placed(REQUEST._replace(service_class=service_class), waited)
    elif what == "lag":
        to.loop_lag.observe(*how)
    else:
        getattr(to, what)(*how)


def numbers(snapshot):
    """Every number of a snapshot by metric and labels; what is 0 throughout might as well not be there."""
    return {
        (metric, tuple(labels)): list(values)
        for metric, found in snapshot.items()
        for labels, values in found["series"]
        if any(values)
    }


@given(st.lists(st.tuples(st.integers(0, 2), events), max_size=6))
def test_what_workers_count_adds_up_to_what_one_process_would_have_counted(parts):
    whole, workers = telemetry(), [telemetry() for _ in range(3)]
    for worker, part in parts:
        for event in part:
            happen(whole, event)
            happen(workers[worker], event)
    total = merge([sent(worker.snapshot()) for worker in workers], whole.edges)
    assert numbers(total) == numbers(whole.snapshot())


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["report", "die", "work"]), events), max_size=20))
def test_no_count_of_a_supervisor_ever_falls_whoever_dies(steps):
    supervisor = telemetry()
    workers = [telemetry() for _ in range(3)]
    before = numbers(supervisor.total())
    for number, step, part in steps:
        if step == "die":
            supervisor.workers.lost(number)
            workers[number] = telemetry()
        elif step == "report":
            supervisor.workers.update(number, sent(workers[number].snapshot()))
        else:
            for event in part:
                happen(workers[number], event)
        now = numbers(supervisor.total())
        for key, values in before.items():
            assert all(later >= earlier for earlier, later in zip(values, now[key], strict=True)), key
        before = now


def test_a_worker_that_died_leaves_its_counts_and_takes_along_what_it_held():
    supervisor, worker = telemetry(), telemetry()
    worker.offered("a")
    worker.occupancy = lambda: Occupancy(
        client_connections=7, idle_engine_connections=1, active_engine_connections=2, buffered_bytes=1000
    )
    supervisor.workers.update(0, sent(worker.snapshot()))

    def value(name, **labels):
        return supervisor.registry.get_sample_value(name, {"pool": "p", **labels})

    assert value("fairlead_router_client_connections") == 7
    assert value("fairlead_router_engine_connections", state="idle") == 1
    assert value("fairlead_router_engine_connections", state="active") == 2
    assert value("fairlead_router_buffered_bytes") == 1000
    assert value("fairlead_router_offered_requests_total", **{"class": "a"}) == 1
    supervisor.workers.lost(0)
    assert value("fairlead_router_client_connections") == 0
    assert value("fairlead_router_engine_connections", state="active") == 0
    assert value("fairlead_router_buffered_bytes") == 0
    assert value("fairlead_router_offered_requests_total", **{"class": "a"}) == 1


def test_a_worker_that_died_before_it_said_anything_changes_nothing():
    supervisor = telemetry()
    before = supervisor.total()
    supervisor.workers.lost(0)
    assert supervisor.total() == before


def test_buckets_of_a_worker_that_follows_other_limits_are_left_out_and_its_counters_are_not():
    supervisor, late = telemetry(), telemetry(config=OTHER_LIMITS)
    for each in (supervisor, late):
        each.stream(REQUEST, "chat-0").first(0.5)
        each.offered("a")
    supervisor.workers.update(0, sent(late.snapshot()))
    found = numbers(supervisor.total())
    assert sum(found[Metric.TTFT, ("p", "a", "m")][:-1]) == 1
    assert found[Metric.OFFERED_REQUESTS, ("p", "a")] == [2]


def test_other_limits_start_the_buckets_of_workers_that_died_anew():
    supervisor, worker = telemetry(), telemetry()
    worker.stream(REQUEST, "chat-0").first(0.5)
    worker.offered("a")
    supervisor.workers.update(0, sent(worker.snapshot()))
    supervisor.workers.lost(0)
    supervisor.apply(OTHER_LIMITS)
    found = numbers(supervisor.total())
    assert (Metric.TTFT, ("p", "a", "m")) not in found
    assert found[Metric.OFFERED_REQUESTS, ("p", "a")] == [1]


def test_an_endpoint_that_is_gone_leaves_no_series_of_any_worker():
    shown = list(ENGINES)
    supervisor, dead, alive = telemetry(shown), telemetry(), telemetry()
    for number, worker in enumerate((dead, alive)):
        worker.stream(REQUEST, "chat-0").first(0.5)
        worker.stream(REQUEST, "chat-1").first(0.5)
        supervisor.workers.update(number, sent(worker.snapshot()))
    supervisor.workers.lost(0)
    del shown[0]
    labels = [tuple(labels) for labels, _ in supervisor.total()[Metric.ENDPOINT_TTFT]["series"]]
    assert labels == [("p", "chat-1")]
    assert sum(numbers(supervisor.total())[Metric.ENDPOINT_TTFT, ("p", "chat-1")][:-1]) == 2


@given(events)
def test_the_text_of_a_total_is_read_back_by_prometheus_parser_with_the_same_numbers(part):
    supervisor, worker = telemetry(), telemetry()
    for event in part:
        happen(worker, event)
    supervisor.workers.update(0, sent(worker.snapshot()))
    text = supervisor.exposition().decode()
    read = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    meant = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in supervisor.registry.collect()
        for sample in family.samples
    }
    assert read == meant


@pytest.mark.parametrize("endpoints", [0, 3, 200])
def test_the_text_written_a_little_at_a_time_is_the_same(endpoints):
    engines = [EndpointView(f"u{n}", f"a:{n}", EndpointState.READY, f"chat-{n}") for n in range(endpoints)]
    made = telemetry(engines)
    for engine in engines:
        made.stream(REQUEST, engine.name).first(0.5)
    assert asyncio.run(made.exposed()) == made.exposition()


def test_no_part_of_the_text_holds_the_event_loop_for_longer_than_a_slice_takes():
    engines = [EndpointView(f"u{n}", f"a:{n}", EndpointState.READY, f"chat-{n}") for n in range(100)]
    made = telemetry(engines)
    for engine in engines:
        made.stream(REQUEST, engine.name).first(0.5)

    async def turns_of_others():
        turns = 0
        exposing = asyncio.create_task(made.exposed())
        while not exposing.done():
            turns += 1
            await asyncio.sleep(0)
        return turns, exposing.result().count(b"\n")

    turns, lines = asyncio.run(turns_of_others())
    assert turns >= lines / SLICE_SAMPLES
