"""The offline model answers JSON that fits where a schema is asked for, so that all can be tried without a key."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.models.providers.base import ModelRequest
from apps.models.providers.echo import EchoAdapter
from apps.models.providers.instances import MOST_DEPTH, MOST_VALUES, instance_text

TICKET = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reasoning", "category", "urgency"],
    "properties": {
        "reasoning": {"type": "string"},
        "category": {"type": "string", "enum": ["billing", "bug", "other"]},
        "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
        "hint": {"type": "string"},
    },
}


def request(text, schema):
    return ModelRequest(model="echo", messages=[{"role": "user", "content": text}], response_schema=schema)


def answer(schema, text="Hello"):
    return orjson.loads(instance_text(schema, text))


def test_choices_are_those_that_the_text_names_and_texts_are_the_text():
    found = EchoAdapter().complete(request("A Bug, no debugging", TICKET))
    assert orjson.loads(found.text) == {"reasoning": "A Bug, no debugging", "category": "bug", "urgency": 1}
    assert answer(TICKET, "debug")["category"] == "billing"
    assert found.usage.output_tokens == -(-len(found.text) // 4)


def test_a_stream_is_the_same_answer():
    *pieces, last = EchoAdapter().stream(request("a bug", TICKET))
    assert "".join(piece.text for piece in pieces) == last.completion.text == instance_text(TICKET, "a bug")


def test_what_is_json_already_is_echoed():
    assert instance_text(TICKET, '{"urgency": 5}') == '{"urgency": 5}'
    assert answer({"type": "string"}, "7") == "7"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": [1]}, [1]),
        ({"enum": [None, 3]}, None),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "null"}, None),
        ({"type": "boolean"}, False),
        ({"type": "integer", "exclusiveMinimum": 2}, 3),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "maximum": -3, "multipleOf": 2}, -4),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "string", "maxLength": 2}, "He"),
        ({"type": "string", "minLength": 7}, "Hello.."),
        ({"type": "string", "format": "date"}, "1970-01-01"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"prefixItems": [{"const": 1}], "minItems": 1}, [1]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 0),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"const": 4}}}, 4),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"const": 1}}}]}, {"a": 1}),
        ({"required": ["x"]}, {"x": "Hello"}),
        ({}, "Hello"),
    ],
    ids=str,
)
def test_instances(schema, expected):
    assert answer(schema) == expected
    assert Draft202012Validator(schema).is_valid(expected)


def schemas():
    numbers = st.tuples(st.sampled_from(["integer", "number"]), st.integers(-50, 50), st.integers(0, 50)).map(
        lambda one: {"type": one[0], "minimum": one[1], "maximum": one[1] + one[2]}
    )
    texts = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(
        lambda one: {"type": "string", "minLength": one[0], "maxLength": one[0] + one[1]}
    )
    choices = st.lists(st.none() | st.booleans() | st.text(max_size=5), min_size=1).map(lambda one: {"enum": one})

    def nested(inner):
        lists = st.tuples(inner, st.integers(0, 3)).map(
            lambda one: {"type": "array", "items": one[0], "minItems": one[1]}
        )
        objects = st.dictionaries(st.text(max_size=4), inner, max_size=4).map(
            lambda one: {"type": "object", "properties": one, "required": [*one][:2], "additionalProperties": False}
        )
        return lists | objects | inner.map(lambda one: {"anyOf": [{"type": "null"}, one]})

    return st.recursive(numbers | texts | choices | st.just({"type": "boolean"}), nested, max_leaves=6)


@given(schemas(), st.text(max_size=20).filter(lambda text: not text.strip().startswith(("{", "["))))
def test_instances_of_many_schemas_fit(schema, text):
    assert Draft202012Validator(schema).is_valid(answer(schema, text))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}},
        {"enum": [], "type": "colour", "minLength": "x", "multipleOf": 0, "required": 7},
        {"type": "number", "minimum": 10**400, "multipleOf": 1e-320},
        True,
    ],
    ids=str,
)
def test_endless_and_odd_schemas_end(schema):
    assert len(instance_text(schema, "\ud800x" * 5_000)) < 10 * MOST_VALUES * MOST_DEPTH
