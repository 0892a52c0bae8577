"""The configuration: what is accepted, what is refused, and how it is said."""

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.config import PolicyName, RouterConfig, ServiceClass, StaticEndpoint, Timeouts, one_line, seconds
from fairlead_router.contract import Reason
from fairlead_router.errors import STATUS, RequestError


@pytest.mark.parametrize(
    ("text", "expected"), [("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1.5h", 5400), ("1h1ms", 3600.001)]
)
def test_durations_are_written_as_in_go(text, expected):
    assert seconds(text) == pytest.approx(expected)


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


def test_reasons_without_a_status_only_end_relayed_answers():
    assert set(Reason) - set(STATUS) == {
        Reason.PLACED,
        Reason.COMPLETED,
        Reason.CLIENT_DISCONNECTED,
        Reason.ENGINE_ERROR,
    }


def test_the_operator_can_import_the_contract_without_the_routers_libraries():
    code = (
        "import sys, fairlead_router.config, fairlead_router.contract;"
        "print(*{'aiohttp','fastapi','kubernetes','prometheus_client','uvicorn','orjson','uvloop'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.split() == []
