"""Which headers carry a key."""

import pytest

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.identity.credentials import key_of


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer K")], b"K"),
        ([(b"authorization", b"bearer K")], b"K"),
        ([(b"authorization", b"BEARER  K ")], b"K"),
        ([(b"x-api-key", b"K")], b"K"),
        ([(b"api-key", b" K ")], b"K"),
        ([(b"authorization", b"Bearer K"), (b"x-api-key", b"K")], b"K"),
        ([(b"authorization", b"Basic abc"), (b"x-api-key", b"K")], b"K"),
        ([(b"x-api-key", b""), (b"authorization", b"Bearer K")], b"K"),
        ([], None),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"BearerK")], None),
        ([(b"authorization", b"K")], None),
        ([(b"x-api-key", b" ")], None),
        ([(b"x-other", b"Bearer K")], None),
    ],
)
def test_a_key_is_read_from_the_headers_of_the_usual_clients(headers, key):
    assert key_of(headers) == key


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer K"), (b"x-api-key", b"L")],
        [(b"authorization", b"Bearer K"), (b"authorization", b"Bearer L")],
        [(b"x-api-key", b"K"), (b"api-key", b"k")],
        [(b"x-api-key", b"K"), (b"x-api-key", b""), (b"api-key", b"L")],
    ],
)
def test_two_different_keys_are_refused(headers):
    with pytest.raises(RequestError, match="two different API keys") as refusal:
        key_of(headers)
    assert refusal.value.reason is Reason.INVALID_API_KEY
