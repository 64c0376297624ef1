"""Rules on a request's metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.prompts.ab_tests.segments import MAX_RULES, MAX_VALUES, OPERATORS, check_segments, matches


def rule(operator, *value, key="k"):
    return {"key": key, "operator": operator, **({"value": value[0]} if value else {})}


HOLDS = [
    (rule("equals", "a"), {"k": "a"}, True),
    (rule("equals", "a"), {"k": "A"}, False),
    (rule("equals", "a"), {}, False),
    (rule("equals", 1), {"k": 1.0}, True),
    (rule("equals", 1), {"k": "1"}, False),
    (rule("equals", 1), {"k": True}, False),
    (rule("equals", True), {"k": True}, True),
    (rule("equals", True), {"k": 1}, False),
    (rule("equals", "a"), {"k": ["a"]}, False),
    (rule("not_equals", "a"), {"k": "b"}, True),
    (rule("not_equals", "a"), {}, True),
    (rule("not_equals", "a"), {"k": None}, True),
    (rule("not_equals", "a"), {"k": "a"}, False),
    (rule("in", ["a", 2]), {"k": 2}, True),
    (rule("in", ["a", 2]), {"k": "2"}, False),
    (rule("in", ["a", 2]), {}, False),
    (rule("not_in", ["a", 2]), {"k": "b"}, True),
    (rule("not_in", ["a", 2]), {}, True),
    (rule("not_in", ["a", 2]), {"k": "a"}, False),
    (rule("exists"), {"k": 0}, True),
    (rule("exists"), {"k": ""}, True),
    (rule("exists"), {"k": None}, False),
    (rule("exists"), {}, False),
    (rule("not_exists"), {}, True),
    (rule("not_exists"), {"k": None}, True),
    (rule("not_exists"), {"k": False}, False),
    (rule("gt", 1), {"k": 1.5}, True),
    (rule("gt", 1), {"k": 1}, False),
    (rule("gte", 1), {"k": 1}, True),
    (rule("lt", 1), {"k": 1}, False),
    (rule("lt", 1), {"k": -(2**62)}, True),
    (rule("lte", 1), {"k": 1}, True),
    (rule("lte", 1), {"k": "0"}, False),
    (rule("lte", 1), {"k": True}, False),
    (rule("lte", 1), {}, False),
]


@pytest.mark.parametrize(("said", "metadata", "expected"), HOLDS, ids=str)
def test_rules(said, metadata, expected):
    assert check_segments({"include": [said]}) == {}
    assert matches({"include": [said]}, metadata) is expected
    assert matches({"exclude": [said]}, metadata) is not expected


def test_all_of_include_and_none_of_exclude():
    segments = {
        "include": [rule("equals", "pro", key="plan"), rule("gte", 18, key="age")],
        "exclude": [rule("exists", key="staff"), rule("in", ["XX", "YY"], key="country")],
    }
    assert check_segments(segments) == {}
    good = {"plan": "pro", "age": 20, "country": "DE"}
    assert matches(segments, good)
    for more in ({"plan": "free"}, {"age": 17}, {"staff": True}, {"country": "YY"}):
        assert not matches(segments, {**good, **more})
    assert matches({}, {})


@pytest.mark.parametrize(
    ("segments", "paths"),
    [
        ([], {""}),
        (None, {""}),
        ({"includes": []}, {"includes"}),
        ({"include": {}}, {"include"}),
        ({"exclude": [rule("exists")] * (MAX_RULES + 1)}, {"exclude"}),
        ({"include": ["x"]}, {"include.0"}),
        ({"include": [rule("exists"), {}]}, {"include.1.key", "include.1.operator"}),
        ({"include": [{**rule("exists"), "more": 1}]}, {"include.0.more"}),
        ({"include": [rule("like", "a")]}, {"include.0.operator"}),
        ({"include": [rule(["in"], "a")]}, {"include.0.operator"}),
        ({"include": [rule("exists", key="")]}, {"include.0.key"}),
        ({"include": [rule("exists", key="a\x00")]}, {"include.0.key"}),
        ({"include": [rule("exists", key="k" * 201)]}, {"include.0.key"}),
        ({"include": [rule("exists", 1)]}, {"include.0.value"}),
        ({"include": [rule("equals")]}, {"include.0.value"}),
        ({"include": [rule("equals", None)]}, {"include.0.value"}),
        ({"include": [rule("equals", {"a": 1})]}, {"include.0.value"}),
        ({"include": [rule("equals", "\ud800")]}, {"include.0.value"}),
        ({"include": [rule("equals", float("nan"))]}, {"include.0.value"}),
        ({"include": [rule("equals", 10**400)]}, {"include.0.value"}),
        ({"include": [rule("in", "abc")]}, {"include.0.value"}),
        ({"include": [rule("in", [])]}, {"include.0.value"}),
        ({"include": [rule("in", ["a"] * (MAX_VALUES + 1))]}, {"include.0.value"}),
        ({"include": [rule("in", ["a", None])]}, {"include.0.value"}),
        ({"include": [rule("gt", "1")]}, {"include.0.value"}),
        ({"include": [rule("gt", True)]}, {"include.0.value"}),
    ],
    ids=lambda said: str(sorted(said) if isinstance(said, set) else said)[:60],
)
def test_what_is_no_rule_is_named(segments, paths):
    assert set(check_segments(segments)) == paths


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["k", "other"])
RULES = st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(sorted(OPERATORS))}, optional={"value": JSON})
SEGMENTS = st.fixed_dictionaries({}, optional={"include": st.lists(RULES, max_size=3), "exclude": st.lists(RULES)})


@given(JSON | SEGMENTS, st.dictionaries(KEYS, JSON))
def test_whatever_passes_the_check_can_be_matched(segments, metadata):
    if check_segments(segments) == {}:
        assert matches(segments, metadata) in {True, False}


@given(st.dictionaries(KEYS, JSON), st.booleans() | st.integers(-5, 5) | st.text(max_size=2))
def test_a_negation_is_the_opposite(metadata, value):
    for operator, said in (("equals", value), ("in", [value, "z"]), ("exists", None)):
        more = {} if operator == "exists" else {"value": said}
        rules = [{"key": "k", "operator": f"{prefix}{operator}", **more} for prefix in ("", "not_")]
        plain, negated = (matches({"include": [one]}, metadata) for one in rules)
        assert plain is not negated
