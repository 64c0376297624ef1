"""Kinds that ask nobody: templates, transforms, conditions, joins and delays; and what every kind refuses."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator

from apps.workflows.nodes.base import ContainerKind, NodeFailure, RunInfo, Waiting
from apps.workflows.nodes.registry import kinds
from tests.workflows.nodes import Attempts, came, ended

BODY = {"nodes": [{"id": "a", "kind": "delay", "config": {"seconds": 1}}], "edges": []}
GOOD = {
    "prompt": {"prompt": "support/triage", "label": "production", "variables": {"t": "{{inputs.t}}"}},
    "llm": {"prompt": "Hi", "system": "Be brief", "parameters": {"temperature": 0}},
    "template": {"template": "{{ inputs.a }}"},
    "transform": {"expression": "inputs.a"},
    "condition": {"cases": [{"handle": "high", "expr": "inputs.a > 1"}], "default": "low"},
    "join": {"mode": "any"},
    "map": {"items": "{{inputs.a}}", "body": BODY},
    "loop": {"body": BODY, "max_iterations": 3, "until": "last == 1"},
    "subworkflow": {"workflow": "triage", "version": 2, "inputs": {"a": 1}},
    "approval": {"assignees": ["role:admin"], "expires_s": 60, "on_expire": "late", "form": {"type": "object"}},
    "http": {"url": "https://api.example.com/a?b=1", "headers": {"Authorization": "Bearer x"}, "json": [1]},
    "evaluate": {"evaluator": "exact_match", "output": "{{inputs.a}}", "expected": 1},
    "delay": {"seconds": "{{inputs.a}}"},
}


@pytest.fixture
def attempts():
    return Attempts(RunInfo(uuid4(), uuid4(), uuid4(), None, None))


def problems(kind: str, config) -> list[tuple[str, str]]:
    """As validation finds them: the schema first. (code, where)."""
    schema = {"$defs": {"body": {"type": "object"}}, **kinds()[kind].config_schema}
    found = Draft202012Validator(schema).iter_errors(config)
    wrong = [("SCHEMA", "/".join(map(str, error.absolute_path))) for error in found]
    return wrong or [(code, where) for code, message, where in kinds()[kind].check(config) if message]


def test_all_kinds_are_there_and_their_schemas_are_schemas():
    assert set(kinds()) == set(GOOD)
    for kind in kinds().values():
        Draft202012Validator.check_schema(kind.config_schema)
        assert all(part.get("description") or "$ref" in part for part in kind.config_schema["properties"].values())


@pytest.mark.parametrize("kind", GOOD)
def test_good_configurations_are_taken(kind):
    assert problems(kind, GOOD[kind]) == []
    assert problems(kind, {**GOOD[kind], "surprise": 1}) == [("SCHEMA", "")]
    assert "error" not in kinds()[kind].handles(GOOD[kind])


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("prompt", {}, ("SCHEMA", "")),
        ("prompt", {"prompt": "No Slug"}, ("SCHEMA", "prompt")),
        ("prompt", {"prompt": "a\n"}, ("SCHEMA", "prompt")),
        ("prompt", {"prompt": "a", "version": 0}, ("SCHEMA", "version")),
        ("prompt", {"prompt": "a", "version": 1, "label": "b"}, ("INVALID_CONFIG", "label")),
        ("llm", {}, ("INVALID_CONFIG", "")),
        ("llm", {"prompt": "a", "messages": []}, ("INVALID_CONFIG", "")),
        ("llm", {"prompt": "a", "response_schema": {"type": 7}}, ("INVALID_CONFIG", "response_schema/type")),
        ("llm", {"prompt": "a", "tools": [{"type": "x"}]}, ("INVALID_CONFIG", "tools/0")),
        ("template", {"template": "{{ a b }}"}, ("INVALID_TEMPLATE", "template")),
        ("template", {"template": "{% import 'os' %}", "format": "jinja2"}, ("INVALID_TEMPLATE", "template")),
        ("transform", {"expression": "a.["}, ("INVALID_EXPRESSION", "expression")),
        ("transform", {"expression": "a" * 1001}, ("SCHEMA", "expression")),
        ("condition", {"cases": [], "default": "a"}, ("SCHEMA", "cases")),
        ("condition", {"cases": [{"handle": "a", "expr": "1"}]}, ("SCHEMA", "")),
        (
            "condition",
            {"cases": [{"handle": "error", "expr": "true"}], "default": "a"},
            ("SCHEMA", "cases/0/handle"),
        ),
        (
            "condition",
            {"cases": [{"handle": "a", "expr": "1 +"}], "default": "b"},
            ("INVALID_EXPRESSION", "cases/0/expr"),
        ),
        ("join", {"mode": "some"}, ("SCHEMA", "mode")),
        ("map", {"items": [], "body": BODY, "max_items": 10_001}, ("SCHEMA", "max_items")),
        ("loop", {"body": BODY}, ("SCHEMA", "")),
        ("loop", {"body": BODY, "max_iterations": 2, "until": "1 +"}, ("INVALID_EXPRESSION", "until")),
        ("subworkflow", {"workflow": "a", "version": 1, "label": "b"}, ("INVALID_CONFIG", "label")),
        ("approval", {"assignees": ["ann"]}, ("SCHEMA", "assignees/0")),
        ("approval", {"assignees": ["role:king"]}, ("UNKNOWN_ROLE", "assignees/0")),
        ("approval", {"on_expire": "late"}, ("INVALID_CONFIG", "on_expire")),
        (
            "approval",
            {"form": {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}},
            ("INVALID_SCHEMA", "form/properties/a/pattern"),
        ),
        ("http", {"url": "https://a@example.com"}, ("INVALID_CONFIG", "url")),
        ("http", {"url": "ftp://example.com"}, ("INVALID_CONFIG", "url")),
        ("http", {"url": "https://example.com", "json": 1, "body": "a"}, ("INVALID_CONFIG", "body")),
        ("http", {"url": "https://example.com", "headers": {"Host": "a"}}, ("INVALID_CONFIG", "headers")),
        ("http", {"url": "https://example.com", "headers": {"a b": "c"}}, ("INVALID_CONFIG", "headers")),
        ("http", {"url": "https://example.com", "method": "TRACE"}, ("SCHEMA", "method")),
        ("evaluate", {"evaluator": "magic", "output": 1}, ("UNKNOWN_EVALUATOR", "evaluator")),
        ("evaluate", {"evaluator": "exact_match", "output": 1}, ("INVALID_CONFIG", "expected")),
        (
            "evaluate",
            {"evaluator": "regex", "output": 1, "config": {"pattern": "("}},
            ("INVALID_CONFIG", "config/pattern"),
        ),
        ("delay", {}, ("INVALID_CONFIG", "")),
        ("delay", {"seconds": 1, "until": "x"}, ("INVALID_CONFIG", "")),
        ("delay", {"seconds": -1}, ("INVALID_CONFIG", "seconds")),
        ("delay", {"seconds": 30 * 86_400 + 1}, ("INVALID_CONFIG", "seconds")),
        ("delay", {"until": "2030-01-01T00:00:00"}, ("INVALID_CONFIG", "until")),
    ],
)
def test_bad_configurations_are_refused_where_they_are_bad(kind, config, expected):
    assert problems(kind, config)[0] == expected


def test_containers_are_not_run_by_themselves(attempts):
    for name in ("map", "loop", "subworkflow"):
        assert isinstance(kinds()[name], ContainerKind)
        with pytest.raises(TypeError):
            attempts.run(name, GOOD[name])


@pytest.mark.parametrize("form", ["simple", "jinja2"])
def test_templates_see_roots_and_no_output_of_what_failed(attempts, form):
    nodes = {"a": ended({"t": [1, "x"]}), "b": ended("secret", "error"), "c": ended(None, "skipped")}
    roots = {"inputs": {"name": "Ada"}, "nodes": nodes, "item": "!"}
    config = {"template": "{{inputs.name}} {{nodes.a.output.t}}{{item}} {{nodes.b.status}}", "format": form}
    assert attempts.run("template", config, roots=roots).output in {'Ada [1,"x"]! error', "Ada [1, 'x']! error"}
    for path in ("nodes.b.output", "nodes.c.output", "nodes.z.output", "inputs.other", "index"):
        with pytest.raises(NodeFailure) as caught:
            attempts.run("template", {"template": f"{{{{{path}}}}}", "format": form}, roots=roots)
        assert not caught.value.is_retryable


def test_jinja_templates_say_what_they_read():
    source = (
        "{% for item in nodes.a.output.hits %}{{ item.x }}{% endfor %}{{ nodes.b.output | default('x') }}"
        "{{ nodes['c'].output[0] }}{{ nodes[inputs.key].output }}"
    )
    found = kinds()["template"].references({"template": source, "format": "jinja2"})
    assert {(one.path, one.has_default) for one in found} == {
        ("nodes.a.output.hits", False),
        ("nodes.b.output", True),
        ("nodes.c.output.0", False),
        ("nodes", False),
        ("inputs.key", False),
    }
    assert {one.pointer for one in found} == {"/template"}


def test_references_leave_literals_alone():
    config = {"prompt": "{{inputs.a}}", "response_schema": {"$ref": "#/$defs/x"}, "system": {"$ref": "nodes.b.output"}}
    found = [(one.path, one.pointer) for one in kinds()["llm"].references(config)]
    assert found == [("inputs.a", "/prompt"), ("nodes.b.output", "/system")]
    cases = {"cases": [{"handle": "a", "expr": "nodes.x.output.n > inputs.m"}], "default": "b"}
    assert [(one.path, one.pointer) for one in kinds()["condition"].references(cases)] == [
        ("nodes.x.output.n", "/cases/0/expr"),
        ("inputs.m", "/cases/0/expr"),
    ]
    [one] = kinds()["transform"].references({"expression": "nodes.a.output"})
    assert (one.path, one.pointer, one.has_default) == ("nodes.a.output", "/expression", True)


def test_transforms(attempts):
    roots = {"inputs": {"n": [3, 1]}, "nodes": {"a": ended({"x": 1}), "b": ended(5, "error")}}
    assert attempts.run("transform", {"expression": "sort(inputs.n)"}, roots=roots).output == [1, 3]
    assert attempts.run("transform", {"expression": "nodes.a.output.x"}, roots=roots).output == 1
    assert attempts.run("transform", {"expression": "nodes.b.output"}, roots=roots).output is None
    given = {"expression": "[?@ > `1`]", "input": "{{inputs.n}}"}
    assert attempts.run("transform", given, roots=roots).output == [3]
    with pytest.raises(NodeFailure) as caught:
        attempts.run("transform", {"expression": "abs(@)", "input": "no number"})
    assert caught.value.code == "INVALID_EXPRESSION"


def test_conditions_take_the_first_true_case(attempts):
    config = {
        "cases": [{"handle": "high", "expr": "inputs.n > 5"}, {"handle": "mid", "expr": "inputs.n > 2"}],
        "default": "low",
    }
    assert kinds()["condition"].handles(config) == ("high", "mid", "low")
    for n, handle in ((9, "high"), (3, "mid"), (1, "low")):
        result = attempts.run("condition", config, roots={"inputs": {"n": n}})
        assert (result.handle, result.output) == (handle, handle)
    with pytest.raises(NodeFailure) as caught:
        attempts.run("condition", config, roots={"inputs": {}})
    assert caught.value.code == "MISSING_VALUE"
    assert "cases.0.expr" in caught.value.message


@pytest.mark.parametrize(
    ("mode", "active", "is_ready", "output"),
    [
        ("all", [True, True], True, {"a": 1, "b": 2}),
        ("all", [True, False], False, None),
        ("any", [False, True], True, {"b": 2}),
        ("any", [False, False], False, None),
        ("first", [True, True], True, 1),
        ("first", [False, True], True, 2),
        ("first", [False, False], False, None),
    ],
)
def test_joins(attempts, mode, active, is_ready, output):
    incoming = [came("a", 1, is_active=active[0]), came("b", 2, is_active=active[1])]
    assert kinds()["join"].is_ready({"mode": mode}, incoming) is is_ready
    if is_ready:
        assert attempts.run("join", {"mode": mode}, incoming=incoming).output == output


def test_a_join_runs_when_all_are_active_unless_it_says_otherwise():
    assert not kinds()["join"].is_ready({}, [came("a", 1), came("b", 2, is_active=False)])


def test_delays_wait_from_the_start_of_the_node(attempts):
    with pytest.raises(Waiting) as caught:
        attempts.run("delay", {"seconds": "{{inputs.s}}"}, roots={"inputs": {"s": 60}}, age_s=20)
    left = caught.value.wake_at - timezone.now()
    assert timedelta(seconds=38) < left <= timedelta(seconds=40)
    assert attempts.run("delay", {"seconds": 60}, age_s=61).handle == "ok"


def test_delays_wait_until_a_time(attempts):
    until = timezone.now() + timedelta(hours=1)
    with pytest.raises(Waiting) as caught:
        attempts.run("delay", {"until": until.isoformat()})
    assert caught.value.wake_at == until
    past = "2020-01-01T02:00:00+02:00"
    assert datetime.fromisoformat(attempts.run("delay", {"until": past}).output["until"]).hour == 0


@pytest.mark.parametrize("given", ["soon", [], None, True, -1, "nan", "inf", 1e300, 10**400, {"a": 1}])
@pytest.mark.parametrize("key", ["seconds", "until"])
def test_delays_that_make_no_sense_fail(attempts, key, given):
    with pytest.raises(NodeFailure):
        attempts.run("delay", {key: "{{inputs.s}}"}, roots={"inputs": {"s": given}})


def test_delays_beyond_a_month_fail(attempts):
    with pytest.raises(NodeFailure):
        attempts.run("delay", {"until": (timezone.now() + timedelta(days=31)).isoformat()})
