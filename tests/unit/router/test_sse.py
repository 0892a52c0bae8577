"""Watching a stream of events as it passes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.decisions.types import Usage
from fairlead_router.http1.chunks import chunk as chunked
from fairlead_router.relay.dialects import ANY, CHAT, MESSAGES, RESPONSES
from fairlead_router.relay.sse import MAX_EVENT_BYTES, EventTooLargeError, SseObserver


def delta(**fields: object) -> bytes:
    return chunk(choices=[{"index": 0, "delta": fields, "finish_reason": None}])


def chunk(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode()


DONE = b"data: [DONE]"
events = st.one_of(
    st.text().map(lambda text: delta(content=text)),
    st.just(delta(role="assistant", content="")),
    st.just(chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 5})),
    st.just(chunk(choices=[{"index": 0, "text": "x", "finish_reason": "stop"}])),
    st.just(b": keep-alive"),
    st.just(b"event: ping\ndata: {}"),
    st.just(b"data: not json"),
    st.just(DONE),
)


@st.composite
def streams(draw):
    """A stream, and the same stream cut into reads."""
    separator = draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]))
    stream = b"".join(
        event.replace(b"\n", separator[: len(separator) // 2]) + separator for event in draw(st.lists(events))
    )
    stream += draw(st.sampled_from([b"", b"data: {", DONE, DONE + b"\n"]))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def observe(reads):
    observer = SseObserver(CHAT)
    observed = [observer.feed(read) for read in reads]
    last = observer.flush()
    facts = (observer.done, observer.complete, observer.failed, observer.usage)
    return [whole for whole, _ in observed], last[0], sum(tokens for _, tokens in [*observed, last]), facts


@given(streams())
def test_what_is_observed_does_not_depend_on_how_the_stream_is_cut(stream_and_reads):
    stream, reads = stream_and_reads
    passed, rest, tokens, facts = observe([stream])
    cut_passed, cut_rest, cut_tokens, cut_facts = observe(reads)
    assert (b"".join(cut_passed), cut_rest, cut_tokens, cut_facts) == (b"".join(passed), rest, tokens, facts)


@given(streams())
def test_bytes_pass_unchanged_and_only_whole_events_do(stream_and_reads):
    stream, reads = stream_and_reads
    passed, rest, _, _ = observe(reads)
    sent = b""
    for part in passed:
        sent += part
        assert stream.startswith(sent)
        assert not sent or sent.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    assert rest in (b"", stream[len(sent) :])


@given(st.lists(st.tuples(events, st.sampled_from([b"\n\n", b"\r\n\r\n"]))))
def test_a_whole_event_is_never_held_back(parts):
    observer = SseObserver(CHAT)
    for event, separator in parts:
        sent = event.replace(b"\n", separator[: len(separator) // 2]) + separator
        assert observer.feed(sent)[0] == sent


@pytest.mark.parametrize(
    ("event", "tokens"),
    [
        (delta(role="assistant", content=""), 0),
        (delta(role="assistant"), 0),
        (delta(content=None), 0),
        (delta(), 0),
        (delta(content="a"), 1),
        (delta(content=" "), 1),
        (delta(reasoning_content="hm"), 1),
        (delta(reasoning="hm"), 1),
        (delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), 1),
        (delta(tool_calls=[]), 0),
        (delta(function_call={"name": "f"}), 1),
        (delta(refusal="no"), 1),
        (chunk(choices=[{"index": 0, "text": "a"}]), 1),
        (chunk(choices=[{"index": 0, "text": ""}]), 0),
        (chunk(choices=[{"delta": {}}, {"delta": {"content": "b"}}]), 1),
        (chunk(choices=[]), 0),
        (chunk(choices="?"), 0),
        (chunk(choices=["?", 7]), 0),
        (b"data: [1]", 0),
        (b"data: {broken", 0),
        (b'data:{"choices": [{"text": "a"}]}', 1),
        (b'event: x\ndata: {"choices":\ndata: [{"text": "a"}]}', 1),
        (b"event: x", 0),
    ],
)
def test_which_events_carry_tokens(event, tokens):
    assert SseObserver(CHAT).feed(event + b"\n\n")[1] == tokens


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": 3}, Usage(3, 0)),
        (None, None),
        ("many", None),
        ({"prompt_tokens": -1, "completion_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 5}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 5}, None),
    ],
)
def test_usage_is_taken_where_it_makes_sense(usage, expected):
    observer = SseObserver(CHAT)
    observer.feed(chunk(usage=usage, choices=[]) + b"\n\n")
    assert observer.usage == expected


def test_the_last_usage_counts():
    observer = SseObserver(CHAT)
    for count in (1, 2):
        observer.feed(chunk(usage={"prompt_tokens": 9, "completion_tokens": count}) + b"\n\n")
    assert observer.usage == Usage(9, 2)


@pytest.mark.parametrize(
    ("stream", "complete"),
    [
        (b"", False),
        (delta(content="a") + b"\n\n", False),
        (DONE + b"\n\n", True),
        (DONE, True),
        (chunk(choices=[{"delta": {}, "finish_reason": "stop"}]) + b"\n\n", True),
        (chunk(error={"message": "boom"}) + b"\n\n", True),
    ],
)
def test_when_an_answer_is_complete(stream, complete):
    observer = SseObserver(CHAT)
    observer.feed(stream)
    observer.flush()
    assert observer.complete is complete


texts = st.text() | st.sampled_from(
    ['"', '"delta":{"content":"x', '"finish_reason":null', '"error"', '"usage":{', "\\\\"]
)
fields = st.none() | texts | st.integers() | st.lists(texts, max_size=2)
choices = st.fixed_dictionaries(
    {"index": st.integers(0, 2)},
    optional={
        "delta": fields | st.dictionaries(st.sampled_from(["content", "role", "reasoning", "tool_calls"]), fields),
        "finish_reason": st.sampled_from([None, "stop", "length"]),
        "text": texts,
        "logprobs": st.none() | st.dictionaries(texts, fields, max_size=2),
    },
)
chunks = st.fixed_dictionaries(
    {"choices": st.lists(choices, max_size=3)},
    optional={"error": fields, "usage": st.none() | st.just({"prompt_tokens": 1}), "model": texts},
)


def other_texts(value: object, text: object) -> object:
    """Return the same JSON with another string in place of what engines keep tokens in."""
    if isinstance(value, list):
        return [other_texts(each, text) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: text if key in {"content", "text", "reasoning"} and isinstance(each, str) else other_texts(each, text)
        for key, each in value.items()
    }


def said_by(observer: SseObserver) -> tuple[object, ...]:
    return observer.complete, observer.failed, observer.usage


@given(chunks, chunks, st.text(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_an_event_that_repeats_the_one_before_says_what_reading_it_would_say(first, other, text, similar, separators):
    second = other_texts(first, text) if similar else other
    events = [b"data: " + json.dumps(each, separators=separators).encode() + b"\n\n" for each in (first, second)]
    observer, reader = SseObserver(CHAT), SseObserver(CHAT)
    observer.feed(events[0])
    if observer.repeats_in_chunk(chunked(events[1])):
        before = said_by(observer)
        assert reader.feed(events[1]) == (events[1], 1)
        reader.feed(events[0])
        assert said_by(reader) == before


def test_a_chunk_that_is_cut_off_is_no_fault():
    assert observe([b'data: {"choices":[{"finish_reason":null,"delta":{"content":"\n\n'])[0] != [b""]


VLLM = '{"id":"c","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}'
COMPLETION = '{"id":"c","choices":[{"index":0,"text":"%s","logprobs":null,"finish_reason":null}],"usage":null}'
REASONING = '{"choices":[{"delta":{"reasoning_content":"%s"},"finish_reason":null}]}'
SPACED = '{"choices": [{"delta": {"content": "%s"}, "finish_reason": null}]}'
MESSAGE = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'


@pytest.mark.parametrize("form", [VLLM, COMPLETION, REASONING, SPACED])
@pytest.mark.parametrize("text", [" b", r"\n", r"\"", r"\\", r"\u00e4", "ä", r"\"\"\""])
def test_the_tokens_that_engines_send_are_recognised_without_being_read(form, text):
    observer = SseObserver(CHAT)
    observer.feed(b"data: %b\n\n" % (form % "a").encode())
    event = b"data: %b\n\n" % (form % text).encode()
    assert observer.repeats_in_chunk(chunked(event))


def test_a_named_event_is_recognised_with_its_name():
    observer = SseObserver(MESSAGES)
    event = b"event: content_block_delta\ndata: %b\n\n" % (MESSAGE % "a").encode()
    observer.feed(event)
    assert observer.repeats_in_chunk(chunked(event))
    assert not observer.repeats_in_chunk(chunked(event.removeprefix(b"event: content_block_delta\n")))


@pytest.mark.parametrize(
    "event",
    [
        VLLM % "",  # no token
        VLLM.replace("null}]", '"stop"}]') % "b",
        VLLM.replace('"c"', '"d"') % "b",
        VLLM % 'b","x":"y',
        VLLM % "b\\",  # the quote behind it is a part of the text
        VLLM % "b\n\ndata: [DONE]\n\n",
    ],
)
def test_an_event_that_differs_in_more_than_its_text_is_read(event):
    observer = SseObserver(CHAT)
    observer.feed(b"data: %b\n\n" % (VLLM % "a").encode())
    assert not observer.repeats_in_chunk(chunked(b"data: %b\n\n" % event.encode()))


def test_an_event_with_two_texts_is_an_example_of_nothing():
    observer = SseObserver(CHAT)
    event = delta(content="a", reasoning="b") + b"\n\n"
    assert observer.feed(event) == (event, 1)
    assert not observer.repeats_in_chunk(chunked(event))


def test_what_follows_half_an_event_is_no_event():
    observer = SseObserver(CHAT)
    event = b"data: %b\n\n" % (VLLM % "a").encode()
    observer.feed(event + b"data: ")
    assert not observer.repeats_in_chunk(chunked(event))


def named(kind: str, **fields: object) -> bytes:
    return b"event: %b\n%b\n\n" % (kind.encode(), chunk(type=kind, **fields))


@pytest.mark.parametrize(
    ("dialect", "event", "tokens", "complete", "failed"),
    [
        (RESPONSES, named("response.created", response={}), 0, False, False),
        (RESPONSES, named("response.output_text.delta", delta="a"), 1, False, False),
        (RESPONSES, named("response.reasoning_text.delta", delta="a"), 1, False, False),
        (RESPONSES, named("response.completed", response={}), 0, True, False),
        (RESPONSES, named("response.incomplete", response={}), 0, True, False),
        (RESPONSES, named("response.failed", response={}), 0, True, True),
        (RESPONSES, named("error", message="boom"), 0, True, True),
        (MESSAGES, named("message_start", message={}), 0, False, False),
        (MESSAGES, named("content_block_delta", delta={"text": "a"}), 1, False, False),
        (MESSAGES, named("message_stop"), 0, True, False),
        (MESSAGES, named("error", error={"message": "boom"}), 0, True, True),
        (ANY, chunk(text="a") + b"\n\n", 1, True, False),
        (ANY, chunk(error={"message": "boom"}) + b"\n\n", 0, True, True),
    ],
)
def test_each_api_says_tokens_end_and_failure_in_its_own_way(dialect, event, tokens, complete, failed):
    observer = SseObserver(dialect)
    assert observer.feed(event) == (event, tokens)
    assert (observer.complete, observer.failed) == (complete, failed)


def test_usage_that_comes_in_two_events_is_put_together():
    observer = SseObserver(MESSAGES)
    observer.feed(named("message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}}))
    observer.feed(named("message_delta", usage={"output_tokens": 5}))
    assert observer.usage == Usage(7, 5)


def test_usage_inside_a_response_is_found():
    observer = SseObserver(RESPONSES)
    observer.feed(named("response.completed", response={"usage": {"input_tokens": 7, "output_tokens": 5}}))
    assert observer.usage == Usage(7, 5)


def test_an_event_that_never_ends_is_refused():
    observer = SseObserver(CHAT)
    with pytest.raises(EventTooLargeError):
        observer.feed(b"x" * (MAX_EVENT_BYTES + 1))
