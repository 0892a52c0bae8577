"""Who comes in, with which classes and models, and whose headers are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.identity.claims import IDENTITY_HEADERS, claimed_objective, claimed_tenant, dropped_headers
from fairlead_router.identity.gate import Gate, check_class, check_model, default_class
from fairlead_router.identity.keys import ANYONE, KeyRing, Principal, hash_of

PLAIN, GATEWAY = b"fl-plain", b"fl-gateway"
GATE = Gate(
    KeyRing.from_yaml(
        f"keys: [{{name: a, hash: '{hash_of(PLAIN)}'}}, {{name: gw, hash: '{hash_of(GATEWAY)}', trusted: true}}]"
    )
)
LIMITED = Principal("a", "a", classes=("batch", "night"), models=("m", "org/n"))


def bearer(key: bytes) -> tuple[bytes, bytes]:
    return (b"authorization", b"Bearer " + key)


def test_a_known_key_comes_in():
    assert GATE.identify([bearer(PLAIN)]).name == "a"


@pytest.mark.parametrize("headers", [[], [bearer(b"fl-other")], [bearer(PLAIN), (b"x-api-key", GATEWAY)]])
def test_no_key_a_wrong_key_and_two_keys_get_401(headers):
    with pytest.raises(RequestError) as refusal:
        GATE.identify(headers)
    assert (refusal.value.reason, refusal.value.status) == (Reason.INVALID_API_KEY, 401)
    assert (b"www-authenticate", b"Bearer") in refusal.value.headers()


@given(st.binary(min_size=8), st.sampled_from([b"authorization", b"x-api-key", b"api-key"]))
def test_a_refusal_holds_no_part_of_the_key(key, header):
    with pytest.raises(RequestError) as refusal:
        GATE.identify([(header, b"Bearer " + key)])
    assert key not in refusal.value.body()
    assert key.decode("latin-1") not in str(refusal.value)


def test_without_keys_everybody_comes_in_and_with_an_empty_ring_nobody():
    assert Gate(None).identify([]) is ANYONE
    with pytest.raises(RequestError):
        Gate(KeyRing()).identify([bearer(PLAIN)])


TENANT = (b"x-fairlead-tenant", b"customer-7")


def test_a_trusted_caller_names_the_tenant():
    assert GATE.identify([bearer(GATEWAY), TENANT]).tenant == "customer-7"
    assert GATE.identify([bearer(GATEWAY)]).tenant == "gw"


def test_nobody_else_does():
    assert GATE.identify([bearer(PLAIN), TENANT]).tenant == "a"
    assert Gate(None).identify([TENANT]).tenant == ANYONE.tenant


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ([(b"x-fairlead-tenant", b"a"), (b"x-llm-d-inference-fairness-id", b"b")], "a"),
        ([(b"x-gateway-inference-fairness-id", b"c"), (b"x-llm-d-inference-fairness-id", b"b")], "b"),
        ([(b"x-gateway-inference-fairness-id", b"c")], "c"),
        ([(b"x-fairlead-tenant", b"from the client"), (b"x-fairlead-tenant", b"from the gateway")], "from the gateway"),
        ([(b"x-llm-d-inference-objective", b"o")], None),
        ([(b"x-fairlead-tenant", b" ")], None),
        ([(b"x-fairlead-tenant", b"a\tb")], None),
        ([(b"x-fairlead-tenant", "ä".encode())], None),
        ([(b"x-fairlead-tenant", b"a" * 129)], None),
    ],
)
def test_a_tenant_is_named_by_our_header_or_llm_d_s_and_can_be_logged(headers, tenant):
    assert claimed_tenant(headers) == tenant


def test_an_objective_is_named_by_llm_d_s_headers():
    assert claimed_objective([(b"x-gateway-inference-objective", b"a"), (b"x-llm-d-inference-objective", b"b")]) == "b"
    assert claimed_objective([(b"x-fairlead-tenant", b"a")]) is None


@pytest.mark.parametrize("auth", [False, True])
def test_identity_headers_go_to_an_engine_only_from_a_trusted_caller(auth):
    assert dropped_headers(auth=auth, trusted=False) >= IDENTITY_HEADERS
    assert not dropped_headers(auth=auth, trusted=True) & IDENTITY_HEADERS


@pytest.mark.parametrize("header", [b"authorization", b"x-api-key", b"api-key"])
def test_keys_end_at_a_router_that_checks_them_and_pass_one_that_does_not(header):
    assert header in GATE.dropped(GATE.identify([bearer(GATEWAY)]))
    assert header in GATE.dropped(GATE.identify([bearer(PLAIN)]))
    assert header not in Gate(None).dropped(ANYONE)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(None, "interactive"), (("batch", "interactive"), "interactive"), (("night", "batch"), "batch")],
)
def test_a_request_without_class_gets_the_pool_s_default_or_else_the_key_s_first(classes, expected):
    assert default_class(Principal("a", "a", classes), ["interactive", "batch"], "interactive") == expected


def test_a_key_whose_classes_the_pool_does_not_declare_is_refused():
    with pytest.raises(RequestError, match="these classes only, by x-slo-class: batch, night") as refusal:
        default_class(LIMITED, ["interactive"], "interactive")
    assert refusal.value.reason is Reason.CLASS_NOT_ALLOWED


def test_a_class_that_the_key_does_not_allow_is_refused_with_those_it_does():
    check_class(LIMITED, "night")
    check_class(ANYONE, "interactive")
    with pytest.raises(RequestError, match="batch, night") as refusal:
        check_class(LIMITED, "interactive")
    assert (refusal.value.reason, refusal.value.status) == (Reason.CLASS_NOT_ALLOWED, 403)


@pytest.mark.parametrize("model", ["x", "M", ""])
def test_a_model_that_the_key_does_not_allow_is_refused_with_those_it_does(model):
    check_model(LIMITED, "org/n")
    check_model(ANYONE, model)
    with pytest.raises(RequestError, match="m, org/n") as refusal:
        check_model(LIMITED, model)
    assert (refusal.value.reason, refusal.value.status, refusal.value.param) == (Reason.MODEL_NOT_ALLOWED, 403, "model")
