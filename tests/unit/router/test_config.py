"""The configuration: what is accepted, what is refused, and how it is said."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.config import (
    PolicyName,
    Queue,
    RouterConfig,
    ServiceClass,
    StaticEndpoint,
    Timeouts,
    one_line,
    seconds,
    size_bytes,
)
from fairlead_router.contract import Reason
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.errors import DROPPED, STATUS, RequestError
from fairlead_router.settings import queue_limits, rules_of


@pytest.mark.parametrize(
    ("text", "expected"), [("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1.5h", 5400), ("1h1ms", 3600.001)]
)
def test_durations_are_written_as_in_go(text, expected):
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 1), ("1", 1), ("64k", 64_000), ("64Ki", 65_536), ("3M", 3_000_000), ("1Gi", 1 << 30), ("2Ti", 1 << 41)],
)
def test_sizes_are_written_as_in_kubernetes(size, expected):
    assert Queue(max_bytes=size).max_bytes == size
    assert size_bytes(size) == expected


def test_the_declaration_says_how_classes_compete():
    config = RouterConfig.from_yaml(
        "classes: [{name: a, priority: 100, share: 60}, {name: b, onUnreachable: queue}]\n"
        "queue: {maxRequests: 7, maxBytes: 1Mi, maxWait: 2s}"
    )
    assert rules_of(config) == {
        "a": ClassRules(100, 0.6, OnUnreachable.REJECT),
        "b": ClassRules(0, 0.0, OnUnreachable.QUEUE),
    }
    assert queue_limits(config) == QueueLimits(7, 1 << 20, 2.0)


names = st.from_regex(r"\A[a-z]([-a-z0-9]{0,20}[a-z0-9])?\Z")
durations = st.sampled_from(["1ms", "500ms", "2s", "1m30s"])
configs = st.builds(
    RouterConfig,
    pool=names,
    models=st.lists(names, max_size=3).map(tuple),
    classes=st.lists(
        st.builds(ServiceClass, name=names, ttft=durations | st.none(), tbt=durations | st.none()),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each.name,
    ).map(tuple),
    policy=st.sampled_from(get_args(PolicyName)),
    timeouts=st.builds(Timeouts, connect=durations, first_byte=durations, inter_token=durations, total=durations),
    endpoints=st.lists(
        st.builds(StaticEndpoint, uid=names, address=st.just("a:1")), max_size=3, unique_by=lambda each: each.uid
    ).map(tuple),
)


@given(configs)
def test_what_is_rendered_is_what_is_read(config):
    assert RouterConfig.from_yaml(config.to_yaml()) == config


def test_an_empty_file_is_the_default():
    assert RouterConfig.from_yaml("") == RouterConfig()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (
            "policy: fastest",
            "policy: Input should be 'rad', 'least-request', 'round-robin', 'random', 'power-of-two', 'least-kv', 'prefix-hash' or 'lmetric', not 'fastest'",
        ),
        ("polcy: round-robin", "polcy"),
        ("timeouts: {total: 0s}", "timeouts.total: must be longer than 0, not '0s'; for example 500ms"),
        ("timeouts: {total: 5}", "timeouts.total"),
        ("classes: []", "classes"),
        ("classes: [{name: a}, {name: a}]", "classes: every name must be unique"),
        ("classes: [{name: a, default: true}, {name: b, default: true}]", "at most one class"),
        ("classes: [{name: a, ttft: fast}]", "classes.0.ttft"),
        ("classes: [{name: a, share: 0}]", "classes.0.share: Input should be greater than or equal to 1, not 0"),
        ("classes: [{name: a, share: 0.5}]", "classes.0.share"),
        (
            "classes: [{name: a, share: 60}, {name: b, share: 50}]",
            "classes: shares must add up to at most 100, not 60 (a) + 50 (b); lower them or leave some out",
        ),
        ("classes: [{name: a, onUnreachable: wait}]", "classes.0.onUnreachable: Input should be 'reject' or 'queue'"),
        ("queue: {maxRequests: 0}", "queue.maxRequests"),
        ("queue: {maxBytes: much}", "queue.maxBytes: not a size: 'much'; for example 65536, 64Ki or 1Gi"),
        ("queue: {maxBytes: 0}", "queue.maxBytes: not a size: 0"),
        ("queue: {maxWait: never}", "queue.maxWait"),
        ("endpoints: [{uid: a, address: nowhere}]", "endpoints.0.address"),
        ("endpoints: [{uid: a, address: 'a:1'}, {uid: a, address: 'b:1'}]", "endpoints: every uid must be unique"),
        ("models: ['']", "models.0"),
        ("[]", "dictionary"),
        ("a: b: c", "not YAML"),
    ],
)
def test_a_bad_configuration_is_refused_in_one_line_that_names_the_field(text, field):
    with pytest.raises(ValueError, match=r".+") as caught:
        RouterConfig.from_yaml(text)
    line = one_line(caught.value)
    assert field in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("classes", "default"),
    [
        ((ServiceClass(name="a"), ServiceClass(name="b")), "a"),
        ((ServiceClass(name="a"), ServiceClass(name="b", default=True)), "b"),
    ],
)
def test_the_default_class_is_the_marked_one_or_the_first(classes, default):
    assert RouterConfig(classes=classes).default_class.name == default


@pytest.mark.parametrize("reason", STATUS)
def test_every_error_has_openais_four_fields_and_its_reason_as_code(reason):
    error = RequestError(reason, "message", "param")
    assert 400 <= error.status < 600
    assert f'"code":"{reason}"'.encode() in error.body()
    assert error.event() == b"data: " + error.body() + b"\n\n"


@pytest.mark.parametrize("reason", DROPPED)
def test_a_request_that_was_dropped_is_said_to_be_so_in_llm_ds_words_too(reason):
    headers = dict(RequestError(reason, "message").headers())
    assert headers[b"x-llm-d-request-dropped-reason"] == DROPPED[reason].encode()


@pytest.mark.parametrize(("known", "said"), [(None, b"5"), (17, b"17")])
def test_when_to_come_back_is_what_is_known_or_else_what_is_usual(known, said):
    headers = dict(RequestError(Reason.NO_ENDPOINT, "message", retry_after=known).headers())
    assert headers[b"retry-after"] == said


def test_reasons_without_a_status_only_end_relayed_answers_or_places():
    assert set(Reason) - set(STATUS) == {
        Reason.PLACED,
        Reason.COMPLETED,
        Reason.CLIENT_DISCONNECTED,
        Reason.ENGINE_ERROR,
        Reason.TAKEN_BACK,
    }


def test_the_operator_can_import_the_contract_without_the_routers_libraries():
    code = (
        "import sys, fairlead_router.config, fairlead_router.contract;"
        "print(*{'aiohttp','fastapi','kubernetes','prometheus_client','uvicorn','orjson','uvloop'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.split() == []


def test_the_classes_that_the_documentation_shows_are_valid():
    page = (Path(__file__).parents[3] / "docs" / "slos.md").read_text()
    [shown] = re.findall(r"```yaml\n(classes:.*?)```", page, re.DOTALL)
    assert [each.name for each in RouterConfig.from_yaml(shown).classes] == ["interactive", "batch"]
