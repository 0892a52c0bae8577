"""The fuzzers of the router's data path in their shortest form, and every case that has ever broken a rule."""

import pytest

from fuzzing.caller import Heard, judge
from fuzzing.cases import Afterwards, Caller, Case, Farewell, Reply
from fuzzing.document import fuzz_document
from fuzzing.minimise import minimised
from fuzzing.player import player
from fuzzing.run import CORPUS, draw, replay

SEED = 20261121
CASES = 80

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
PLACED = b"HTTP/1.1 200 OK\r\nx-fairlead-reason: placed\r\ncontent-length: 5\r\n\r\n{}"
REFUSED = b'HTTP/1.1 404 X\r\nx-fairlead-reason: not_found\r\ncontent-length: 30\r\n\r\n{"error":{"code":"not_found"}}'


def test_no_case_of_the_corpus_breaks_a_rule_any_more():
    assert replay(sorted(CORPUS.glob("*.json"))) == []


def test_no_case_that_is_drawn_breaks_a_rule():
    with player() as playing:
        wrongs = [f"{what}\n{case.to_json()}" for case, what in playing.play(draw(SEED, CASES)) if what]
        assert wrongs == []
        assert {"placed", "engine_disconnected", "invalid_request", "invalid_api_key"} <= set(playing.answers)


def test_every_answer_is_as_the_openapi_document_says():
    sent, wrongs = fuzz_document(3, SEED, lambda _: None)
    assert wrongs == []
    assert sent > 60


def test_a_case_is_written_and_read_back(tmp_path):
    case = Case(
        (Caller((b"GET \xff", b"\x00"), Farewell.DEAF, 1), Caller(())),
        (Reply((b"HTTP",), Afterwards.RESETS, early=True),),
        locked=True,
    )
    assert Case.from_json(case.save(tmp_path).read_text()) == case


def test_a_case_is_made_as_small_as_it_can_be():
    case = Case((Caller((b"aaaa", b"aXYZa"), Farewell.RESETS), Caller((b"bbb",))), (Reply((b"c",)),), locked=True)

    def breaks(smaller: Case) -> bool:
        return any(b"XYZ" in b"".join(caller.pieces) for caller in smaller.callers)

    assert minimised(case, breaks) == Case((Caller((b"XYZ",)),))


@pytest.mark.parametrize(
    ("data", "was_reset", "farewell", "requests", "wrong"),
    [
        pytest.param(OK + REFUSED, False, Farewell.WAITS, 2, None, id="two answers"),
        pytest.param(OK + REFUSED, False, Farewell.WAITS, 1, "2 answers to 1 requests", id="one too many"),
        pytest.param(OK + b"x", False, Farewell.WAITS, 1, "breaks off", id="a byte behind an answer"),
        pytest.param(OK + b"\r\nx\r\n\r\n", False, Farewell.WAITS, 1, "wrong framing", id="no HTTP behind an answer"),
        pytest.param(OK[:-1], False, Farewell.WAITS, 1, "breaks off", id="the router's own, cut off"),
        pytest.param(OK[:-1], True, Farewell.WAITS, 1, None, id="cut off by a reset"),
        pytest.param(OK[:-1], False, Farewell.HALF_CLOSES, 1, None, id="cut off for a client that hung up"),
        pytest.param(PLACED, False, Farewell.WAITS, 1, None, id="an engine's, cut off"),
        pytest.param(REFUSED.replace(b'"not', b'"nit'), False, Farewell.WAITS, 1, "nit_found", id="two reasons"),
        pytest.param(b"", False, Farewell.WAITS, 1, None, id="nothing"),
    ],
)
def test_what_a_client_gets_is_judged(data, was_reset, farewell, requests, wrong):
    _, wrongs = judge(Heard(data, was_reset), Caller((), farewell, requests))
    if wrong is None:
        assert wrongs == []
    else:
        assert wrong in wrongs[0]
