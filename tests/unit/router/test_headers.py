"""Which headers pass."""

from random import Random

import pytest

from fairlead_router.http1.answers import AnswerHead
from fairlead_router.http1.messages import lines_of
from fairlead_router.relay.headers import request_id_of, to_client, to_engine


def answered(*fields: tuple[bytes, bytes]) -> AnswerHead:
    return AnswerHead(200, list(fields))


@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ],
)
def test_headers_about_one_connection_stay_there(name):
    sent = [(name.encode(), b"x"), (b"x-other", b"y")]
    assert to_engine(sent, dict(sent)) == b"x-other: y\r\n"
    assert to_client(answered(*sent)) == b"x-other: y\r\n"


def test_headers_that_connection_names_stay_there():
    sent = [(b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-kept", b"2")]
    assert to_client(answered(*sent)) == b"x-kept: 2\r\n"


def test_a_repeated_header_stays_repeated_and_in_order():
    sent = [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert to_client(answered(*sent)) == lines_of(sent)


def test_headers_of_who_asks_or_who_traces_stay_too():
    sent = [(b"x-a", b"1"), (b"x-b", b"2")]
    assert to_engine(sent, dict(sent), frozenset({b"x-a"})) == b"x-b: 2\r\n"


@pytest.mark.parametrize("value", [b"r-1", b"x" * 128, b"a@b/c"])
def test_a_request_id_that_can_be_logged_is_kept(value):
    assert request_id_of({b"x-request-id": value}, Random(1)) == value.decode()


@pytest.mark.parametrize("value", [b"", b"two words", b"x" * 129, b"caf\xc3\xa9", b"tab\t"])
def test_any_other_request_id_is_replaced(value):
    assert len(request_id_of({b"x-request-id": value}, Random(1))) == 32
