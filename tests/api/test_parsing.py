"""What the parser takes and what it refuses, for any bytes."""

import io
import tracemalloc
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError, ValidationError

from apps.prompts.rendering.values import find_problem
from everquant.api.handler import flatten
from everquant.api.pagination import decode_cursor, encode_cursor
from everquant.api.parsers import MAX_DEPTH, StrictJSONParser
from everquant.db import uuid7

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-(2.0**53), 2.0**53)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8), children, max_size=4
    ),
    max_leaves=20,
)  # fmt: skip


def parse(body: bytes):
    return StrictJSONParser().parse(io.BytesIO(body))


@given(JSON_VALUES)
def test_every_storable_value_is_read_as_it_was_written(value):
    assert parse(orjson.dumps(value)) == orjson.loads(orjson.dumps(value))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(body):
    try:
        parsed = parse(body)
    except (ParseError, ValidationError):
        return
    assert parsed == orjson.loads(body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"name": "a\\u0000b"}', "name"),
        (b'{"list": [{"x": "\\u0000"}]}', "list.0.x"),
        (b'{"n": 18446744073709551615}', "n"),
        (b'{"n": [1e20]}', "n.0"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), None),
    ],
)
def test_what_cannot_be_stored_is_refused_by_path(body, path):
    with pytest.raises(ValidationError) as caught:
        parse(body)
    details = flatten(caught.value.detail)
    assert len(details) == 1
    if path:
        assert list(details) == [path]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'"\\ud800"', b"NaN", b"1e999", b"[" * 5000, b"\xff", b'{"a": 1,}', b"\xef\xbb"]
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ParseError):
        parse(body)


def test_errors_are_flattened_to_dotted_paths():
    nested = {"name": ["Required."], "messages": [{}, {"role": ["Unknown.", "Wrong."]}], "non_field_errors": ["Both."]}
    assert flatten(nested) == {"name": "Required.", "messages.1.role": "Unknown. Wrong.", "body": "Both."}


def test_cursors_round_trip_and_garbage_is_refused():
    for key in (uuid7(), uuid4()):
        assert decode_cursor(encode_cursor(key.bytes)) == key
    for garbage in ("", "x", "é", "=" * 22, "a" * 23, "a" * 10_000):
        with pytest.raises(ValidationError):
            decode_cursor(garbage)


def test_ids_are_ordered_by_time():
    keys = [uuid7() for _ in range(1000)]
    assert keys == sorted(keys)
    assert {key.version for key in keys} == {7}


def test_a_long_key_over_a_long_list_takes_no_memory_for_paths():
    body = orjson.dumps({"k" * 50_000: [0] * 20_000})
    tracemalloc.start()
    try:
        parse(body)
        find_problem(orjson.loads(body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
