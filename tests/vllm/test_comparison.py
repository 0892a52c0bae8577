"""The comparison of streams forgives where vLLM cuts the text, and nothing else."""

import pytest
from both_sides import said

HEAD = b'data: {"id":"chatcmpl-1","created":17,"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
END = b'data: {"id":"chatcmpl-1","created":17,"choices":[{"delta":{"content":"d"},"finish_reason":"length"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def tokens(*texts: str) -> bytes:
    return b"".join(
        b'data: {"id":"chatcmpl-1","created":17,"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode()
        for text in texts
    )


STREAM = HEAD + tokens("a", "b", "c") + END + DONE


def test_where_the_text_is_cut_makes_no_difference():
    assert said(HEAD + tokens("ab", "c") + END + DONE) == said(STREAM)


def test_ids_and_times_make_no_difference():
    assert said(STREAM.replace(b"chatcmpl-1", b"chatcmpl-2").replace(b"17", b"18")) == said(STREAM)


@pytest.mark.parametrize(
    "changed",
    [
        HEAD + tokens("a", "c") + END + DONE,
        HEAD + tokens("a", "c", "b") + END + DONE,
        HEAD + tokens("a", "b", "b", "c") + END + DONE,
        tokens("a", "b", "c") + END + DONE,
        HEAD + tokens("a", "b", "c") + END,
        HEAD + tokens("a", "b", "c") + END + DONE + DONE,
        HEAD + HEAD + tokens("a", "b", "c") + DONE,
        STREAM.replace(b"length", b"stop"),
        STREAM.replace(b"data: {", b"data:{"),
        STREAM.replace(b"\n\n", b"\r\n\r\n"),
        STREAM + b": a comment\n\n",
    ],
    ids=[
        "a token is lost",
        "tokens in another order",
        "a token comes twice",
        "the first event is lost",
        "the end is lost",
        "the end comes twice",
        "the last token is lost",
        "another reason to end",
        "another spacing",
        "other line ends",
        "a comment more",
    ],
)
def test_any_other_difference_is_seen(changed):
    assert said(changed) != said(STREAM)
