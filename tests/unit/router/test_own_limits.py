"""Limits that requests set for themselves."""

import pytest

from fairlead_router.contract import Reason
from fairlead_router.decisions.types import Slo
from fairlead_router.errors import RequestError
from fairlead_router.identity.keys import ANYONE, Principal
from fairlead_router.relay.own_limits import limits_of, wait_of

OF_CLASS = Slo(0.5, 0.1)
FREE = Principal("k", "t", own_limits=True)
BOUND = Principal("k", "t")


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({}, OF_CLASS),
        ({b"x-slo-ttft-ms": b"250"}, Slo(0.25, 0.1)),
        ({b"x-slo-tbt-ms": b"12.5"}, Slo(0.5, 0.0125)),
        ({b"x-llm-d-slo-ttft-ms": b"1000", b"x-llm-d-slo-tpot-ms": b"50"}, Slo(1.0, 0.05)),
        ({b"x-slo-tpot-ms": b"50"}, Slo(0.5, 0.05)),
        ({b"x-slo-ttft-ms": b"1", b"x-llm-d-slo-ttft-ms": b"2"}, Slo(0.001, 0.1)),
        ({b"x-slo-ttft-ms": b"3600000"}, Slo(3600.0, 0.1)),
    ],
)
def test_a_limit_takes_the_place_of_that_of_the_class(fields, limits):
    assert limits_of(fields, OF_CLASS, FREE) == limits


@pytest.mark.parametrize(
    "value", [b"", b"0", b"0.5", b"-1", b"1e3", b"nan", b"inf", b"3600001", b"9" * 40, b"500ms", b"\xff"]
)
def test_what_is_no_limit_is_refused_with_the_header_and_the_value(value):
    with pytest.raises(RequestError, match="x-slo-ttft-ms must be milliseconds from 1 to 3600000, not ") as refused:
        limits_of({b"x-slo-ttft-ms": value}, OF_CLASS, FREE)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_a_key_that_may_not_set_limits_is_told_so():
    with pytest.raises(RequestError, match="may not set limits") as refused:
        limits_of({b"x-slo-tbt-ms": b"5"}, OF_CLASS, BOUND)
    assert refused.value.reason is Reason.CLASS_NOT_ALLOWED


@pytest.mark.parametrize(
    ("value", "wait"), [(b"1500ms", 1.5), (b"2s", 2.0), (b"1m30s", 90.0), (b"0s", 0.0), (b"1.5h", 5400.0)]
)
def test_a_request_says_how_long_it_would_wait_as_llm_d_s_clients_do(value, wait):
    assert wait_of({b"x-llm-d-inference-ttl": value}) == pytest.approx(wait)


def test_a_request_that_does_not_say_so_waits_as_any():
    assert wait_of({}) is None


@pytest.mark.parametrize("value", [b"", b"2", b"-2s", b"2 s", b"inf", b"2s and more", b"9" * 40, b"\xff"])
def test_what_is_no_duration_is_refused_with_the_header_and_the_value(value):
    with pytest.raises(
        RequestError, match="x-llm-d-inference-ttl must be a duration such as 1500ms or 2s, not "
    ) as refused:
        wait_of({b"x-llm-d-inference-ttl": value})
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_without_keys_everybody_may():
    assert limits_of({b"x-slo-ttft-ms": b"250"}, OF_CLASS, ANYONE).ttft_seconds == 0.25
