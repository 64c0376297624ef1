from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.models.providers.sse import EventParser, EventTooLargeError, ServerSentEvent

LIMIT = 1_000_000


def parse(stream: bytes) -> list[ServerSentEvent]:
    return EventParser(LIMIT).feed(stream)


def parse_in_pieces(stream: bytes, cuts: list[int]) -> list[ServerSentEvent]:
    parser = EventParser(LIMIT)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [event for start, end in pairwise(edges) for event in parser.feed(stream[start:end])]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [("message", "a", "")]),
        (b"data:a\r\rdata: b\r\n\r\n", [("message", "a", ""), ("message", "b", "")]),
        (b"data: first\ndata: second\n\n", [("message", "first\nsecond", "")]),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"data:  two spaces\n\n", [("message", " two spaces", "")]),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [("add", "1", ""), ("message", "2", "")]),
        (b"event: lost\n\ndata: 2\n\n", [("message", "2", "")]),
        (
            b"id: 7\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\n",
            [("message", "1", "7"), ("message", "2", "7"), ("message", "3", "")],
        ),
        (b"id: 7\x008\ndata: 1\n\n", [("message", "1", "")]),
        (b": comment\n:\n\ndata: 1\n: another\n\n", [("message", "1", "")]),
        (b"retry: 10\nunknown: x\ndata: 1\n\n", [("message", "1", "")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("message", "1", "")]),
        (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [("message", "1", "")]),
        (b"data: 1\n\ndata: never ended\n", [("message", "1", "")]),
        (b"data: \xff\n\n", [("message", "\N{REPLACEMENT CHARACTER}", "")]),
        ("data: \N{FIRE}\u2028x\n\n".encode(), [("message", "\N{FIRE}\u2028x", "")]),
    ],
)
def test_rules_of_the_standard(stream, expected):
    assert parse(stream) == [ServerSentEvent(*fields) for fields in expected]
    assert parse_in_pieces(stream, list(range(len(stream)))) == parse(stream)


LINES = st.sampled_from(
    [
        b"data: x",
        b"data:",
        b"data",
        b": c",
        b"event: e",
        b"id: 1",
        b"id:\x00",
        b"retry: 3",
        b"",
        b"",
        "data: \N{FIRE}".encode(),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    st.booleans(),
    st.lists(st.tuples(LINES, ENDS), max_size=30),
    st.lists(st.integers(0, 1000), max_size=20),
)
def test_where_the_stream_is_cut_makes_no_difference(has_mark, lines, cuts):
    stream = (b"\xef\xbb\xbf" if has_mark else b"") + b"".join(line + end for line, end in lines)
    assert parse_in_pieces(stream, cuts) == parse(stream)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_are_parsed_alike_in_any_pieces(stream, cuts):
    assert parse_in_pieces(stream, cuts) == parse(stream)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=50)), ENDS.map(bytes.decode))
def test_what_is_written_by_the_rules_is_read_back(messages, end):
    single_lines = [message.replace("\r", "").replace("\n", "") for message in messages]
    stream = "".join(f"data: {message}{end}{end}" for message in single_lines).encode()
    assert [event.data for event in parse(stream)] == single_lines


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: xxx\n", b"x"])
def test_an_event_that_never_ends_is_refused(piece):
    parser = EventParser(1000)

    def feed_for_ever():
        for _ in range(1100):
            parser.feed(piece)

    with pytest.raises(EventTooLargeError):
        feed_for_ever()


def test_a_long_stream_of_short_events_is_not_refused():
    parser = EventParser(1000)
    assert sum(len(parser.feed(b"data: x\n\n")) for _ in range(1000)) == 1000
