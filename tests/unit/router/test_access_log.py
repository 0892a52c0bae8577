"""What the access log says of a request, which requests it tells of, and what it never says."""

import json
import os
import select
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router import config
from fairlead_router.access_log import AccessLog, AccessRecord
from fairlead_router.contract import Reason
from fairlead_router.line_writer import LineWriter

RECORD = AccessRecord(
    time=1_700_000_000.25,
    request_id="r-1",
    method="POST",
    path="/v1/chat/completions",
    status=200,
    reason=Reason.COMPLETED,
    seconds=1.23456789,
    service_class="interactive",
    model="mistral-7b",
    tenant="acme",
    key="acme-production",
    endpoint="chat-0",
    queue_seconds=0.0123456,
    ttft_seconds=0.1234567,
    tokens_in=12,
    tokens_out=345,
    bytes_in=678,
    bytes_out=90_123,
    retries=1,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
)
REFUSED = AccessRecord(
    time=1_700_000_000.0,
    request_id="r-2",
    method="GET",
    path="/v1/nothing",
    status=404,
    reason=Reason.NOT_FOUND,
    seconds=0.001,
)


def test_a_line_is_one_json_object_of_this_shape():
    assert json.loads(RECORD.line()) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "request_id": "r-1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "reason": "completed",
        "class": "interactive",
        "model": "mistral-7b",
        "tenant": "acme",
        "key": "acme-production",
        "endpoint": "chat-0",
        "seconds": 1.234568,
        "queue_seconds": 0.012346,
        "ttft_seconds": 0.123457,
        "tokens_in": 12,
        "tokens_out": 345,
        "bytes_in": 678,
        "bytes_out": 90123,
        "retries": 1,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }


def test_what_is_not_known_of_a_request_is_null_and_its_field_is_there():
    said, refused = json.loads(RECORD.line()), json.loads(REFUSED.line())
    assert refused.keys() == said.keys()
    unknown = {"class", "model", "tenant", "key", "endpoint", "queue_seconds", "ttft_seconds"}
    unknown |= {"tokens_in", "tokens_out", "trace_id"}
    assert {field for field, value in refused.items() if value is None} == unknown


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/models?api_key=secret", "/v1/models"),
        ("/v1/models?a=/b?secret", "/v1/models"),
        ("http://user:secret@host:80/v1/models?secret", "/v1/models"),
        ("http://secret@host", "/"),
        ("secret@host:443", "/"),
        ("*", "/"),
        ("", "/"),
    ],
)
def test_nothing_of_a_target_is_said_but_its_path(target, path):
    line = replace(RECORD, path=target).line()
    assert json.loads(line)["path"] == path
    assert b"secret" not in line


@given(path=st.text(st.characters(exclude_categories=["Cs"])), model=st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_a_client_sends_is_one_line_that_no_other_process_tears(path, model):
    line = replace(RECORD, path="/" + path * 50, model=model * 50).line()
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert len(line) <= select.PIPE_BUF
    json.loads(line)


def log(sample):
    made = AccessLog(LineWriter(-1), Random(1))
    made.apply(config.AccessLog(sample=sample) if sample else None)
    return made


@pytest.mark.parametrize("sample", [0.01, 0.25, 1.0])
def test_a_share_of_the_good_requests_gets_a_line(sample):
    made = log(sample)
    share = sum(made.wants(Reason.COMPLETED) for _ in range(10_000)) / 10_000
    assert share == pytest.approx(sample, abs=0.02)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.COMPLETED])
def test_a_request_that_did_not_complete_always_gets_a_line(reason):
    made = log(0.000001)
    assert all(made.wants(reason) for _ in range(100))


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.INTERNAL_ERROR])
def test_without_a_configuration_no_request_gets_a_line(reason):
    assert not log(None).wants(reason)


def test_a_configuration_that_takes_the_log_away_is_followed():
    made = log(1.0)
    assert made.wants(Reason.COMPLETED)
    made.apply(None)
    assert not made.wants(Reason.ENGINE_DISCONNECTED)


def test_records_reach_the_reader_of_the_descriptor():
    reading, writing = os.pipe()
    made = AccessLog(LineWriter(writing), Random(1))
    made.write(RECORD)
    made.write(REFUSED)
    made.close()
    os.close(writing)
    lines = os.read(reading, 1 << 16).splitlines()
    os.close(reading)
    assert [json.loads(line)["request_id"] for line in lines] == ["r-1", "r-2"]
    assert made.lost == 0
