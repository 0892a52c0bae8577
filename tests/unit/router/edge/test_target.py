"""One spelling for every path: what is checked is what is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.edge.target import target_of
from fairlead_router.errors import RequestError


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        (b"/v1/models", "/v1/models", b""),
        (b"/v1/models?a=b", "/v1/models", b"a=b"),
        (b"/v1/models?", "/v1/models", b""),
        (b"/v1/models??a", "/v1/models", b"?a"),
        (b"/", "/", b""),
        (b"//", "/", b""),
        (b"//v1/models", "/v1/models", b""),
        (b"/v1//models", "/v1/models", b""),
        (b"/v1/models/", "/v1/models", b""),
        (b"/v1/models//", "/v1/models", b""),
        (b"/v1/./models", "/v1/models", b""),
        (b"/v1/models/.", "/v1/models", b""),
        (b"/v1/x/../models", "/v1/models", b""),
        (b"/v1/models/x/..", "/v1/models", b""),
        (b"/health/../v1/models", "/v1/models", b""),
        (b"/v1/%6dodels", "/v1/models", b""),
        (b"/v1/%6Dodels", "/v1/models", b""),
        (b"/v1/x/%2e%2E/models", "/v1/models", b""),
        (b"/v1/.%2e/v1/models", "/v1/models", b""),
        (b"/v1/a%2fb", "/v1/a%2Fb", b""),
        (b"/v1/a%2F..%2Fb", "/v1/a%2F..%2Fb", b""),
        (b"/v1/a%00b", "/v1/a%00b", b""),
        (b"/v1/a%20b", "/v1/a%20b", b""),
        (b"/v1/%252e%252e/models", "/v1/%252e%252e/models", b""),
        (b"/V1/Models", "/V1/Models", b""),
        (b"/v1/models?path=/../x//%2e", "/v1/models", b"path=/../x//%2e"),
        (b"/v1/....", "/v1/....", b""),
        (b"http://host", "/", b""),
        (b"http://host/", "/", b""),
        (b"http://host?a", "/", b"a"),
        (b"http://host/v1/models?a=b", "/v1/models", b"a=b"),
        (b"HTTPS://user@host:1//v1/./models/", "/v1/models", b""),
        (b"http:///v1/models", "/v1/models", b""),
    ],
)
def test_a_target_has_one_spelling(raw, path, query):
    assert target_of(raw) == (path, query)


@pytest.mark.parametrize(
    "raw",
    [
        b"*",
        b"v1/models",
        b"host:80",
        b"ftp://host/v1/models",
        b"/..",
        b"/../v1/models",
        b"/v1/../../models",
        b"/%2e%2e/v1/models",
        b"http://host/../v1/models",
        b"/v1/models%",
        b"/v1/models%2",
        b"/v1/models%zz",
        b"/v1/models#fragment",
        b"/v1/models?a#fragment",
        b"/v1//models?a#fragment",
        "/v1/modèles".encode(),
    ],
)
def test_a_target_that_is_no_path_or_leads_above_the_root_is_refused(raw):
    with pytest.raises(RequestError) as refused:
        target_of(raw)
    assert refused.value.status == 400


PIECES = st.sampled_from(
    [
        b"/",
        b"//",
        b"/.",
        b"/..",
        b".",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%25",
        b"%61",
        b"%",
        b"v1",
        b"a",
        b"?",
        b";",
        b"\\",
        b"#",
    ]
)


@given(st.one_of(st.lists(PIECES, max_size=12).map(b"".join).map(b"/".__add__), st.binary(max_size=30)))
def test_a_normalised_target_is_left_as_it_is_and_has_no_segment_to_resolve(raw):
    try:
        target = target_of(raw)
    except RequestError:
        return
    assert target_of(target.line) == target
    assert target.path.startswith("/")
    segments = target.path.split("/")[1:]
    assert target.path == "/" or not {"", ".", ".."} & set(segments)
    assert "%2e" not in target.path.lower()
    assert target.path.isascii()
