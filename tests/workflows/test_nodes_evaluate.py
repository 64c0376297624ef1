"""Evaluators that need no model, and the node that scores by them."""

import time
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.evaluations.evaluators.reading import is_same
from apps.evaluations.evaluators.regex import matches, weight_of
from apps.workflows.evaluating import ABSENT, Context, EvaluationError, config_problems, evaluate, evaluators
from apps.workflows.nodes.base import NodeFailure, RunInfo
from tests.workflows.nodes import Attempts


def score(kind, output, expected=ABSENT, **config):
    evaluator = evaluators()[kind]
    assert config_problems(evaluator, config) == []
    return evaluate(evaluator, config, Context(output, expected))


def test_they_are_registered_with_schemas():
    assert set(evaluators()) >= {
        "exact_match", "contains", "regex", "json_valid", "json_schema", "json_fields", "numeric", "length",
    }  # fmt: skip
    for evaluator in evaluators().values():
        Draft202012Validator.check_schema(evaluator.config_schema)
        assert config_problems(evaluator, {"surprise": 1})


@pytest.mark.parametrize(
    ("kind", "output", "expected", "config", "value"),
    [
        ("exact_match", " Yes ", "Yes", {}, 1),
        ("exact_match", " Yes ", "Yes", {"trim": False}, 0),
        ("exact_match", "STRASSE", "straße", {"ignore_case": True}, 1),
        ("exact_match", "yes", "Yes", {}, 0),
        ("exact_match", {"b": 1, "a": [1.0]}, {"a": [1], "b": 1}, {}, 1),
        ("exact_match", True, 1, {}, 0),
        ("exact_match", None, None, {}, 1),
        ("contains", "a quick fox", ["quick", "slow"], {}, 0.5),
        ("contains", "a quick fox", ABSENT, {"texts": ["QUICK"], "ignore_case": True}, 1),
        ("contains", "a quick fox", ABSENT, {"texts": ["slow", "fox"], "mode": "any"}, 1),
        ("contains", "a quick fox", ABSENT, {"texts": ["slow"], "mode": "any"}, 0),
        ("contains", "a quick fox", ABSENT, {"texts": ["fox"], "mode": "none"}, 0),
        ("contains", "a quick fox", ABSENT, {"texts": ["slow"], "mode": "none"}, 1),
        ("contains", {"a": 1}, ABSENT, {"texts": ['"a":1']}, 1),
        ("regex", "order 4711 ok", ABSENT, {"pattern": r"\d{4}"}, 1),
        ("regex", "order 4711 ok", ABSENT, {"pattern": r"\d{4}", "mode": "full"}, 0),
        ("regex", "4711", ABSENT, {"pattern": r"\d{4}", "mode": "full"}, 1),
        ("regex", "ÄRGER", ABSENT, {"pattern": "ärger", "ignore_case": True}, 1),
        ("regex", "a|b", ABSENT, {"pattern": "x|b", "mode": "full"}, 0),
        ("json_valid", '{"a": 1}', ABSENT, {}, 1),
        ("json_valid", "{a: 1}", ABSENT, {}, 0),
        ("json_valid", [1], ABSENT, {}, 1),
        ("json_schema", '{"n": 1}', ABSENT, {"schema": {"required": ["n"]}}, 1),
        ("json_schema", {"m": 1}, ABSENT, {"schema": {"required": ["n"]}}, 0),
        ("json_schema", "no", ABSENT, {"schema": {}}, 0),
        ("json_fields", '{"a": 1, "b": 3, "c": 0}', {"a": 1, "b": 2}, {}, 0.5),
        ("json_fields", {"a": {"b": [1, 2]}}, {"a": {"b": [0, 2]}}, {"fields": ["a.b.1"]}, 1),
        ("json_fields", "nonsense", {"a": 1}, {}, 0),
        ("json_fields", {"a.b": 1}, {"a.b": 1}, {}, 1),
        ("numeric", "3.14", 3.1416, {"tolerance": 0.01}, 1),
        ("numeric", 110, 100, {"relative": 0.05}, 0),
        ("numeric", 104, 100, {"relative": 0.05}, 1),
        ("numeric", "many", 100, {}, 0),
        ("numeric", True, 1, {}, 0),
        ("numeric", 10**400, 1, {}, 0),
        ("length", "abc", ABSENT, {"min": 3, "max": 3}, 1),
        ("length", "a b c", ABSENT, {"max": 2, "unit": "words"}, 0),
        ("length", [1, 2], ABSENT, {"min": 3}, 0),
    ],
)
def test_scores(kind, output, expected, config, value):
    found = score(kind, output, expected, **config)
    assert found.score == value
    assert found.passed is (value == 1)
    assert bool(found.reason) is (value != 1)


@pytest.mark.parametrize(
    ("kind", "expected", "config"),
    [
        ("exact_match", ABSENT, {}),
        ("contains", ABSENT, {}),
        ("contains", "", {}),
        ("contains", [], {}),
        ("json_fields", {}, {}),
        ("json_fields", [1], {}),
        ("json_fields", {"a": 1}, {"fields": ["b"]}),
        ("numeric", "many", {}),
    ],
)
def test_without_anything_to_compare_with_there_is_no_score(kind, expected, config):
    with pytest.raises(EvaluationError):
        score(kind, "1", expected, **config)


@pytest.mark.parametrize(
    ("kind", "config", "where"),
    [
        ("regex", {}, ""),
        ("regex", {"pattern": "("}, "pattern"),
        ("regex", {"pattern": r"(?=a)"}, "pattern"),
        ("regex", {"pattern": r"(a)\1"}, "pattern"),
        ("regex", {"pattern": "a{1001}"}, "pattern"),
        ("regex", {"pattern": "((a{100}){100}){100}"}, "pattern"),
        ("regex", {"pattern": "(?x)(aaaaaaaaaaaaa) {900}"}, "pattern"),
        ("regex", {"pattern": "a" * 501}, "pattern"),
        ("json_schema", {"schema": {"type": 7}}, "schema/type"),
        ("length", {}, ""),
        ("length", {"min": 2, "max": 1}, "max"),
        ("numeric", {"tolerance": -1}, "tolerance"),
        ("contains", {"texts": []}, "texts"),
    ],
)
def test_bad_configurations_are_refused_where_they_are_bad(kind, config, where):
    assert [at for _, at in config_problems(evaluators()[kind], config)] == [where]


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*a){20}", r"[ab]*a[ab]{900}x"])
def test_no_pattern_takes_long(pattern):
    began = time.process_time()
    matches(pattern, "ab" * 24_999 + "!")
    assert time.process_time() - began < 2


@given(st.lists(st.sampled_from(["a", "(b)", "(ab|c)", "[x-z]", r"\d", "{2}", "{3,5}", "*", "+"]), max_size=8))
def test_the_weight_is_never_less_than_the_pattern_written_out(pieces):
    if not pieces or pieces[0][0] in "{*+":
        return
    length, last = 0, 0
    for piece in pieces:
        if piece[0] == "{":
            times = int(piece.strip("{}").split(",")[-1])
            length, last = length + last * (times - 1), last * times
        elif piece not in {"*", "+"}:
            last = 1
            length += last
    assert weight_of("".join(pieces)) >= length


def test_equality_is_that_of_json():
    assert is_same({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]})
    assert not is_same([1], [True])
    assert not is_same({"a": None}, {})
    assert not is_same([1, 2], [1])


@pytest.fixture
def attempts():
    return Attempts(RunInfo(uuid4(), uuid4(), uuid4(), None, None))


def test_the_node_gives_the_score(attempts):
    config = {"evaluator": "contains", "config": {"texts": ["{{x}}", "b"]}, "output": "{{inputs.text}}"}
    result = attempts.run("evaluate", config, roots={"inputs": {"text": "a {{x}}"}})
    assert result.output == {"score": 0.5, "passed": False, "label": None, "reason": "Missing: b"}
    assert result.input == {"output": "a {{x}}"}


def test_what_cannot_be_scored_is_a_failure_and_no_low_score(attempts):
    config = {"evaluator": "numeric", "output": 1, "expected": {"$ref": "inputs.e"}}
    with pytest.raises(NodeFailure) as caught:
        attempts.run("evaluate", config, roots={"inputs": {"e": "many"}})
    assert (caught.value.code, caught.value.is_retryable) == ("INVALID_EXPECTED", False)
    with pytest.raises(NodeFailure) as caught:
        attempts.run("evaluate", {"evaluator": "regex", "config": {"pattern": "a"}, "output": "a" * 50_001})
    assert caught.value.code == "TOO_LARGE"
