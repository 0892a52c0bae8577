"""What the metrics say, and that their labels stay bounded."""

from dataclasses import replace

import pytest

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.contract import TBT_BUCKETS, TTFT_BUCKETS, BreakerState, EndpointState, Metric, Reason, RetryReason
from fairlead_router.decisions.types import EndpointView, Outcome, RequestView, Usage
from fairlead_router.telemetry import MAX_LEARNT_MODELS, ModelNames, Telemetry

CONFIG = RouterConfig(
    pool="p",
    models=("m",),
    classes=(ServiceClass(name="a", ttft="420ms", tbt="33ms"), ServiceClass(name="b", ttft="1s")),
)
REQUEST = RequestView("r", "m", "a", arrived_at=0.0)
OUTCOME = Outcome(
    Reason.COMPLETED, good=True, duration_seconds=1.0, ttft_seconds=0.1, worst_tbt_seconds=0.1, token_chunks=9
)


ENGINE = EndpointView("u1", "a:1", EndpointState.READY, "one")


def telemetry(config=CONFIG, *endpoints):
    return Telemetry(config, lambda: endpoints)


def edges(of, metric):
    labels = {"pool": "p", "class": "a", "model": "m"}
    of.stream(REQUEST, "one").first(0.1)
    of.stream(REQUEST, "one").gap(0.1, 1)
    samples = [s for family in of.registry.collect() for s in family.samples if s.name == f"{metric}_bucket"]
    assert {k: v for k, v in samples[0].labels.items() if k != "le"} == labels
    return [float(sample.labels["le"]) for sample in samples][:-1]


def test_the_limits_of_the_classes_are_edges_of_the_histograms():
    made = telemetry()
    assert edges(made, Metric.TTFT) == sorted({*TTFT_BUCKETS, 0.42, 1.0})
    assert edges(made, Metric.TBT) == sorted({*TBT_BUCKETS, 0.033})


def test_a_value_counts_in_every_bucket_up_to_which_it_lies():
    made = telemetry()
    for ttft in (0.01, 0.42, 0.43, 1000.0):
        made.stream(REQUEST, "one").first(ttft)

    def up_to(edge):
        labels = {"pool": "p", "class": "a", "model": "m", "le": edge}
        return made.registry.get_sample_value("fairlead_router_ttft_seconds_bucket", labels)

    assert [up_to(edge) for edge in ("0.01", "0.3", "0.42", "0.5", "80.0", "+Inf")] == [1, 1, 2, 3, 3, 4]


def test_chunks_that_arrive_together_are_counted_one_by_one_with_a_gap_of_0_between_them():
    made = telemetry(CONFIG, ENGINE)
    made.stream(REQUEST, "one").gap(0.2, 3)
    for name, labels in (
        ("fairlead_router_tbt_seconds", {"pool": "p", "class": "a", "model": "m"}),
        ("fairlead_router_endpoint_tbt_seconds", {"pool": "p", "endpoint": "one"}),
    ):
        value = made.registry.get_sample_value
        assert value(f"{name}_count", labels) == 3
        assert value(f"{name}_sum", labels) == 0.2
        assert value(f"{name}_bucket", {**labels, "le": "0.005"}) == 2


def test_the_streams_of_an_endpoint_are_counted_whatever_their_class_until_it_is_gone():
    shown = [ENGINE]
    made = Telemetry(CONFIG, lambda: shown)
    made.stream(REQUEST, "one").first(0.1)
    made.stream(REQUEST._replace(service_class="b"), "one").first(0.1)
    labels = {"pool": "p", "endpoint": "one"}
    assert made.registry.get_sample_value("fairlead_router_endpoint_ttft_seconds_count", labels) == 2
    shown.clear()
    assert made.registry.get_sample_value("fairlead_router_endpoint_ttft_seconds_count", labels) is None
    labels = {"pool": "p", "class": "a", "model": "m"}
    assert made.registry.get_sample_value("fairlead_router_ttft_seconds_count", labels) == 1
    shown.append(ENGINE)
    made.stream(REQUEST, "one").first(0.1)
    labels = {"pool": "p", "endpoint": "one"}
    assert made.registry.get_sample_value("fairlead_router_endpoint_ttft_seconds_count", labels) == 1


def test_the_wait_for_room_is_told_with_the_limits_of_the_classes_as_edges():
    made = telemetry()
    for waited in (0.0, 0.0, 0.42, 0.43):
        made.placed(REQUEST, waited)
    labels = {"pool": "p", "class": "a", "model": "m"}
    value = made.registry.get_sample_value
    assert value("fairlead_router_queue_wait_seconds_count", labels) == 4
    assert value("fairlead_router_queue_wait_seconds_sum", labels) == pytest.approx(0.85)
    assert value("fairlead_router_queue_wait_seconds_bucket", {**labels, "le": "0.01"}) == 2
    assert value("fairlead_router_queue_wait_seconds_bucket", {**labels, "le": "0.42"}) == 3


def test_the_depth_of_the_queue_is_told_of_every_declared_class_and_of_others_that_still_wait():
    made = telemetry()
    made.queued("a")
    made.queued("gone")
    value = made.registry.get_sample_value
    found = {name: value("fairlead_router_queue_depth", {"pool": "p", "class": name}) for name in ("a", "b", "gone")}
    assert found == {"a": 1, "b": 0, "gone": 1}
    made.unqueued("gone")
    assert value("fairlead_router_queue_depth", {"pool": "p", "class": "gone"}) is None


def test_other_limits_start_the_histograms_anew_and_leave_the_counters():
    made = telemetry()
    made.ended(REQUEST, OUTCOME, None, known_model=True)
    assert not made.apply(CONFIG.model_copy(update={"policy": "round-robin"}))
    assert made.apply(CONFIG.model_copy(update={"classes": (ServiceClass(name="a", ttft="777ms"),)}))
    assert 0.777 in edges(made, Metric.TTFT)
    count = made.registry.get_sample_value
    labels = {"pool": "p", "class": "a", "model": "m"}
    assert count("fairlead_router_request_duration_seconds_count", labels) is None
    assert count("fairlead_router_good_requests_total", {"pool": "p", "class": "a"}) == 1


@pytest.mark.parametrize(("usage", "output"), [(None, 9), (Usage(4, 11), 11)])
def test_output_tokens_are_the_engines_count_or_else_the_chunks(usage, output):
    made = telemetry()
    made.ended(REQUEST, OUTCOME, usage, known_model=True)
    value = made.registry.get_sample_value("fairlead_router_tokens_total", {"pool": "p", "direction": "output"})
    assert value == output


def test_an_endpoint_that_is_gone_leaves_no_series():
    shown = [EndpointView("u1", "a:1", EndpointState.READY, "one", in_flight=3)]
    made = Telemetry(CONFIG, lambda: shown)
    assert 'fairlead_router_in_flight{endpoint="one",pool="p"} 3.0' in made.exposition().decode()
    shown.clear()
    assert 'endpoint="one"' not in made.exposition().decode()


def test_a_pod_and_its_predecessor_of_the_same_name_share_one_series():
    shown = [
        EndpointView("u2", "a:2", EndpointState.READY, "chat-0", in_flight=1),
        EndpointView("u1", "a:1", EndpointState.GONE, "chat-0", in_flight=2),
    ]
    text = Telemetry(CONFIG, lambda: shown).exposition().decode()
    assert text.count('fairlead_router_in_flight{endpoint="chat-0",pool="p"} 3.0') == 1
    assert 'fairlead_router_endpoint_state{endpoint="chat-0",pool="p",state="ready"} 1.0' in text


def test_the_state_of_an_endpoint_s_breaker_is_shown():
    text = telemetry(CONFIG, replace(ENGINE, breaker=BreakerState.HALF_OPEN)).exposition().decode()
    lines = {line for line in text.splitlines() if line.startswith("fairlead_router_endpoint_breaker{")}
    assert lines == {
        f'fairlead_router_endpoint_breaker{{endpoint="one",pool="p",state="{state}"}} {value}'
        for state, value in (("closed", 0.0), ("open", 0.0), ("half_open", 1.0))
    }


def test_every_metric_of_the_contract_is_exposed():
    made = telemetry()
    made.offered("a")
    made.ended(REQUEST, OUTCOME, None, known_model=True)
    made.retried(RetryReason.CONNECT_FAILED)
    edges(made, Metric.TTFT)
    families = {family.name for family in made.registry.collect()}
    assert families == set(Metric)


def test_configured_models_are_the_only_labels():
    names = ModelNames(("m",))
    assert names.label("m", known=False) == "m"
    assert names.label("x", known=True) == "other"


def test_learnt_models_are_those_that_an_engine_knows_and_not_more_than_a_bound():
    names = ModelNames(())
    assert names.label("x", known=False) == "other"
    assert names.label("x", known=True) == "x"
    assert names.label("x", known=False) == "x"
    labels = {names.label(str(number), known=True) for number in range(1000)}
    assert len(labels) == MAX_LEARNT_MODELS
    assert "other" in labels
