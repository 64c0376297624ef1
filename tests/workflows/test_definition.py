"""Definitions: each problem is told of with its code and its exact pointer; the schema, diagrams, differences."""

import copy
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.workflows.definition.diff import diff
from apps.workflows.definition.mermaid import mermaid
from apps.workflows.definition.model import Retry, Settings
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.schema import definition_schema
from apps.workflows.definition.transfer import load_yaml
from apps.workflows.definition.validation import MAX_PROBLEMS, problems
from apps.workflows.nodes.registry import kinds
from tests.workflows.conftest import definition, template, transform

EXAMPLES = sorted((Path(__file__).parents[2] / "apps/workflows/examples").glob("*.yaml"))


def condition(node_id, *cases, default="no"):
    listed = [{"handle": handle, "expr": expr} for handle, expr in cases or [("yes", "inputs.n > 1")]]
    return {"id": node_id, "kind": "condition", "config": {"cases": listed, "default": default}}


def join(node_id, mode="first"):
    return {"id": node_id, "kind": "join", "config": {"mode": mode}}


def container(node_id, *nodes, edges=(), **config):
    own = {"items": []} if "max_iterations" not in config else {}
    body = {"nodes": list(nodes), "edges": [{"from": one, "to": two} for one, two in edges]}
    if "output" in config:
        body["output"] = config.pop("output")
    return {"id": node_id, "kind": "map" if own else "loop", "config": {**own, "body": body, **config}}


INPUTS = {"type": "object", "properties": {"n": {"type": "integer"}}}


def told(said):
    return [(problem.code, problem.pointer) for problem in problems({"inputs": INPUTS, **said})]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path):
    said = load_yaml(path.read_text())["definition"]
    assert problems(said) == []
    Draft202012Validator(definition_schema()).validate(said)


def test_the_schema_is_one_and_names_every_field_and_kind():
    schema = definition_schema()
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["$defs"]["node"]["properties"]["kind"]["enum"]) == set(kinds())
    bare = [name for name, part in schema["properties"].items() if "title" not in part and "$ref" not in part]
    assert (bare, schema["$id"], schema["$schema"]) == (
        [],
        "urn:everquant:workflow-definition:1",
        "https://json-schema.org/draft/2020-12/schema",
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema_version": 2}, [("INVALID_VALUE", "/schema_version")]),
        ({"nodes": []}, [("INVALID_VALUE", "/nodes")]),
        ({"nodes": {}}, [("INVALID_TYPE", "/nodes")]),
        ({"colour": 1, "a/b~": 2}, [("UNKNOWN_FIELD", "/colour"), ("UNKNOWN_FIELD", "/a~1b~0")]),
        ({"nodes": [{"id": "a"}]}, [("MISSING_FIELD", "/nodes/0")]),
        ({"nodes": [{"id": "a", "kind": "template"}]}, [("MISSING_FIELD", "/nodes/0")]),
        ({"nodes": [{"id": "a", "kind": "python", "config": {}}]}, [("UNKNOWN_KIND", "/nodes/0/kind")]),
        ({"nodes": [template("A")]}, [("INVALID_VALUE", "/nodes/0/id")]),
        ({"nodes": [template("a\n")]}, [("INVALID_VALUE", "/nodes/0/id")]),
        ({"nodes": [template("a" * 65)]}, [("INVALID_VALUE", "/nodes/0/id")]),
        ({"nodes": [template("a", retry={"max_attempts": 0})]}, [("INVALID_VALUE", "/nodes/0/retry/max_attempts")]),
        ({"nodes": [template("a", timeout_s=0)]}, [("INVALID_VALUE", "/nodes/0/timeout_s")]),
        ({"nodes": [template("a", timeout_s="1")]}, [("INVALID_TYPE", "/nodes/0/timeout_s")]),
        ({"nodes": [template("a", on_error="ignore")]}, [("INVALID_VALUE", "/nodes/0/on_error")]),
        ({"nodes": [template("a", name="x" * 201)]}, [("INVALID_VALUE", "/nodes/0/name")]),
        ({"nodes": [join("a", "none")]}, [("INVALID_VALUE", "/nodes/0/config/mode")]),
        (
            {"nodes": [container("m", {"id": "x", "kind": "template", "config": {}})]},
            [("MISSING_FIELD", "/nodes/0/config/body/nodes/0/config")],
        ),
        ({"nodes": [condition("a", ("error", "true"))]}, [("INVALID_VALUE", "/nodes/0/config/cases/0/handle")]),
        ({"edges": [{"from": "a"}]}, [("MISSING_FIELD", "/edges/0")]),
        ({"edges": [{"from": "a", "to": "b", "handle": "Ok"}]}, [("INVALID_VALUE", "/edges/0/handle")]),
        ({"settings": {"timeout_s": 1e9}}, [("INVALID_VALUE", "/settings/timeout_s")]),
        ({"settings": {"max_cost_usd": "-1"}}, [("INVALID_VALUE", "/settings/max_cost_usd")]),
        ({"settings": {"max_cost_usd": 1}}, [("INVALID_TYPE", "/settings/max_cost_usd")]),
        ({"settings": {"max_concurrency": True}}, [("INVALID_TYPE", "/settings/max_concurrency")]),
        ({"outputs": {"no no": 1}}, [("INVALID_VALUE", "/outputs")]),
        ({"outputs": []}, [("INVALID_TYPE", "/outputs")]),
        ({"layout": {"x": "x" * 66_000}}, [("TOO_LARGE", "/layout")]),
        ({"layout": {"x": "\x00"}}, [("INVALID_JSON", "")]),
        ({"layout": {"x": "\ud800"}}, [("INVALID_JSON", "")]),
        ({"inputs": {"type": "array"}}, [("INVALID_SCHEMA", "/inputs/type")]),
        (
            {"inputs": {"properties": {"n": {"pattern": "(a+)+$"}}}},
            [("INVALID_SCHEMA", "/inputs/properties/n/pattern")],
        ),
        ({"inputs": {"properties": {"n": {"$ref": "http://x"}}}}, [("INVALID_SCHEMA", "/inputs/properties/n/$ref")]),
        ({"inputs": {"properties": {"n": {"type": "text"}}}}, [("INVALID_SCHEMA", "/inputs/properties/n/type")]),
        ({"inputs": {"properties": 5}}, [("INVALID_SCHEMA", "/inputs/properties")]),
        ({"inputs": {"required": [{}]}}, [("INVALID_SCHEMA", "/inputs/required/0")]),
    ],
)
def test_the_shape(change, expected):
    assert told({**definition([template("a")]), **change}) == expected


def test_messages_say_what_is_meant():
    node = {"id": "a b", "kind": "template", "config": {"template": 5, "x": 1}, "retry": {"max_attempts": 99}}
    messages = {problem.pointer: problem.message for problem in problems(definition([node]))}
    assert messages == {
        "/nodes/0/id": "'a b' is not valid here. Lower-case letters, digits and underscores, a letter first; unique"
        " among all nodes.",
        "/nodes/0/retry/max_attempts": "At most 10.",
        "/nodes/0/config/template": "A text is expected.",
        "/nodes/0/config/x": "There is no field 'x' here.",
    }


@pytest.mark.parametrize("said", [None, 5, "x", [], {}, {"nodes": None}, {"nodes": [None]}, {"edges": [[]]}])
def test_anything_is_told_of(said):
    assert problems(said)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("ab{}$.", max_size=5) | st.sampled_from(list(kinds())),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["schema_version", "nodes", "edges", "id", "kind", "config", "body", "from", "to", "inputs",
                     "outputs", "cases", "items", "template", "$ref", "properties", "required", "settings"]
                ),
                inner,
            )
        ),
        max_leaves=25,
    )
)  # fmt: skip
def test_any_json_is_told_of_and_never_raises(said):
    assert all(problem.code and problem.message for problem in problems(said))


def branching():
    """ask → yes → yes2 → end, ask → no → end; `after` behind `end`."""
    return definition(
        [condition("ask"), template("yes"), template("yes2"), template("no"), join("end"), template("after")],
        [("ask", "yes", "yes"), ("yes", "yes2"), ("ask", "no", "no"), ("yes2", "end"), ("no", "end"), ("end", "after")],
    )


def with_text(said, node_id, text):
    said = copy.deepcopy(said)
    node = next(node for node in said["nodes"] if node["id"] == node_id)
    node.update(kind="template", config={"template": text})
    return said


@pytest.mark.parametrize(
    ("node_id", "text", "codes"),
    [
        ("after", "{{ nodes.end.output }}", []),
        ("after", "{{ nodes.ask.output }}", []),
        ("after", "{{ nodes.yes.status }} {{ nodes.yes.handle }} {{ nodes.yes.error }}", []),
        ("after", "{{ nodes.yes.output }}", ["MAY_BE_SKIPPED"]),
        ("after", "{{ nodes.no.output.a.b }}", ["MAY_BE_SKIPPED"]),
        ("after", "{{ nodes.no.error.message }}", ["MAY_BE_MISSING"]),
        ("yes2", "{{ nodes.yes.output }}", []),
        ("yes2", "{{ nodes.no.output }}", ["NOT_AN_ANCESTOR"]),
        ("yes2", "{{ nodes.yes2.output }}", ["NOT_AN_ANCESTOR"]),
        ("yes2", "{{ nodes.end.output }}", ["NOT_AN_ANCESTOR"]),
        ("yes2", "{{ nodes.yes.result }}", ["INVALID_REFERENCE"]),
        ("yes2", "{{ nodes }}", ["INVALID_REFERENCE"]),
        ("yes2", "{{ run.id }}", []),
        ("yes2", "{{ run.cost }}", ["INVALID_REFERENCE"]),
        ("yes2", "{{ item }} {{ index }} {{ last }}", ["UNKNOWN_ROOT"] * 3),
        ("yes2", "{{ inputs.n }} {{ inputs }}", []),
        ("yes2", "{{ inputs.m }} {{ inputs.m }}", ["UNKNOWN_INPUT"]),
        ("yes2", "{{ env.HOME }}", ["UNKNOWN_ROOT"]),
        ("yes2", "{{ inputs.n", ["INVALID_TEMPLATE"]),
    ],
)
def test_references(node_id, text, codes):
    said = with_text(branching(), node_id, text)
    place = [node["id"] for node in said["nodes"]].index(node_id)
    assert told(said) == [(code, f"/nodes/{place}/config/template") for code in codes]


def test_the_output_of_what_fails_by_a_branch_is_missing_behind_it_and_its_error_before_it():
    def said(ok_text, error_text, join_text):
        call = transform("call", "@", on_error="branch")
        nodes = [call, template("good", ok_text), template("bad", error_text), join("end"), template("last", join_text)]
        edges = [("call", "good"), ("call", "error", "bad"), ("good", "end"), ("bad", "end"), ("end", "last")]
        return told(definition(nodes, edges))

    assert said("{{ nodes.call.output }}", "{{ nodes.call.error.message }}", "{{ nodes.end.output }}") == []
    assert said("{{ nodes.call.error.message }}", "{{ nodes.call.output }}", "{{ nodes.call.output }}") == [
        ("MAY_BE_MISSING", "/nodes/1/config/template"),
        ("MAY_BE_SKIPPED", "/nodes/2/config/template"),
        ("MAY_BE_SKIPPED", "/nodes/4/config/template"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"$ref": "nodes.end.output"}, []),
        ({"$ref": "nodes.yes.output"}, [("MAY_BE_SKIPPED", "/outputs/x")]),
        ({"$ref": "nodes.yes.output", "default": None}, []),
        ([{"a": "{{ nodes.no.output }}"}], [("MAY_BE_SKIPPED", "/outputs/x/0/a")]),
        ({"$ref": "nodes.gone.output"}, [("NOT_AN_ANCESTOR", "/outputs/x")]),
        ({"$ref": 1}, [("INVALID_REFERENCE", "/outputs/x")]),
        ({"$ref": "nodes.no.output", "default": {"$ref": "inputs.zz"}}, [("UNKNOWN_INPUT", "/outputs/x/default")]),
    ],
)
def test_outputs(value, expected):
    assert told({**branching(), "outputs": {"x": value}}) == expected


def test_expressions_are_compiled_and_their_references_checked():
    nodes = [
        condition("a", ("x", "inputs.n >"), ("y", "nodes.b.output == 1")),
        condition("c", ("x", "nodes.b.output == 1"), ("y", "has(nodes.b.output) && nodes.b.output.k == 1")),
        template("b"),
        transform("d", "nodes.b.output.k || nodes.later.output"),
        transform("e", "a["),
    ]
    edges = [("a", "y", "b"), ("b", "c"), ("a", "x", "c"), ("c", "x", "d")]
    assert told(definition(nodes, edges)) == [
        ("INVALID_EXPRESSION", "/nodes/0/config/cases/0/expr"),
        ("INVALID_EXPRESSION", "/nodes/4/config/expression"),
        ("MAY_BE_SKIPPED", "/nodes/1/config/cases/0/expr"),
        ("NOT_AN_ANCESTOR", "/nodes/3/config/expression"),
    ]


def test_inputs_are_known_unless_the_schema_is_open():
    said = definition([template("a", "{{ inputs.other }}")])
    assert told(said) == [("UNKNOWN_INPUT", "/nodes/0/config/template")]
    assert told({**said, "inputs": {"additionalProperties": True}}) == []
    assert told({**said, "inputs": {"additionalProperties": {"type": "string"}}}) == []
    assert told({**said, "inputs": {"additionalProperties": False}}) == [("UNKNOWN_INPUT", "/nodes/0/config/template")]


def test_bodies_see_what_is_around_their_container_and_their_own_roots():
    inner = container(
        "loop",
        template("deep", "{{ item }} {{ index }} {{ iteration }} {{ last }} {{ nodes.before.output }}"),
        max_iterations=2,
        until="last == '' || iteration > 1 || nodes.deep.output == 'x' || nodes.first.output == ''",
        output={"$ref": "nodes.deep.output"},
    )
    outer = container(
        "each", template("first"), inner, edges=[("first", "loop")], output="{{ nodes.loop.output.last }}"
    )
    said = definition([template("before"), outer, template("after")], [("before", "each"), ("each", "after")])
    assert told({**said, "outputs": {"all": "{{ nodes.each.output.items }}"}}) == []


def test_bodies_do_not_see_what_is_beside_or_behind_their_container_nor_does_anybody_see_into_them():
    body = [template("x", "{{ nodes.beside.output }} {{ nodes.after.output }} {{ nodes.each.output }} {{ last }}")]
    each = container("each", *body, output="{{ nodes.gone.output }} {{ iteration }}")
    again = container("again", template("y"), max_iterations=2, until="nodes.z.output == 1 && item == 1")
    said = definition([each, template("beside"), template("after", "{{ nodes.x.output }}"), again], [("each", "after")])
    assert told(said) == [
        ("NOT_AN_ANCESTOR", "/nodes/2/config/template"),
        *[("NOT_AN_ANCESTOR", "/nodes/0/config/body/nodes/0/config/template")] * 3,
        ("UNKNOWN_ROOT", "/nodes/0/config/body/nodes/0/config/template"),
        ("NOT_AN_ANCESTOR", "/nodes/0/config/body/output"),
        ("UNKNOWN_ROOT", "/nodes/0/config/body/output"),
        ("NOT_AN_ANCESTOR", "/nodes/3/config/until"),
        ("UNKNOWN_ROOT", "/nodes/3/config/until"),
    ]


def test_edges():
    said = definition(
        [template("a"), template("b"), container("m", template("inner"))],
        [("a", "b"), ("a", "b"), ("a", "a"), ("a", "gone"), ("gone", "a"), ("a", "inner"), ("a", "no", "b"),
         ("a", "error", "b")],
    )  # fmt: skip
    assert told(said) == [
        ("DUPLICATE_EDGE", "/edges/1"),
        ("SELF_EDGE", "/edges/2"),
        ("UNKNOWN_NODE", "/edges/3/to"),
        ("UNKNOWN_NODE", "/edges/4/from"),
        ("UNKNOWN_NODE", "/edges/5/to"),
        ("UNKNOWN_HANDLE", "/edges/6/handle"),
        ("UNKNOWN_HANDLE", "/edges/7/handle"),
    ]
    assert told(definition([template("a"), template("b", on_error="branch")], [("a", "b")])) == [
        ("MISSING_ERROR_EDGE", "/nodes/1/on_error")
    ]


def test_cycles_are_named_in_bodies_too():
    nodes = [template(name) for name in "abcd"]
    cycle = definition(nodes, [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])
    found = problems(cycle)
    assert [(one.code, one.pointer) for one in found] == [("CYCLE", "/edges")]
    assert "b → c → b" in found[0].message or "c → b → c" in found[0].message
    body = container("m", *nodes, edges=[("a", "b"), ("b", "a")])
    assert told(definition([body])) == [("CYCLE", "/nodes/0/config/body/edges")]


def test_ids_are_unique_among_all_graphs():
    said = definition([template("a"), template("a"), container("m", template("m"), template("b")), template("b")])
    assert told(said) == [
        ("DUPLICATE_ID", "/nodes/1/id"),
        ("DUPLICATE_ID", "/nodes/2/config/body/nodes/0/id"),
        ("DUPLICATE_ID", "/nodes/2/config/body/nodes/1/id"),
    ]


@pytest.mark.parametrize(("mode", "expected"), [("all", [("UNREACHABLE", "/nodes/3")]), ("any", []), ("first", [])])
def test_a_join_that_waits_for_both_sides_of_a_condition_is_never_reached(mode, expected):
    nodes = [condition("ask"), template("l"), template("r"), join("end", mode)]
    assert told(definition(nodes, [("ask", "yes", "l"), ("ask", "no", "r"), ("l", "end"), ("r", "end")])) == expected


def test_what_is_behind_handles_that_do_not_exist_is_unreachable():
    said = definition([template("a"), template("b"), template("c")], [("a", "nope", "b"), ("b", "c")])
    assert told(said) == [
        ("UNKNOWN_HANDLE", "/edges/0/handle"),
        ("UNREACHABLE", "/nodes/1"),
        ("UNREACHABLE", "/nodes/2"),
    ]


def test_limits_count_what_is_in_bodies():
    many = container("m", *[template(f"n{number}") for number in range(200)])
    assert told(definition([many])) == [("TOO_MANY_NODES", "/nodes")]
    deep = template("leaf")
    for name in ("d4", "d3", "d2", "d1"):
        deep = container(name, deep)
    assert told(definition([deep]))[0][0] == "TOO_DEEP"
    assert told(definition([deep["config"]["body"]["nodes"][0]])) == []


def test_problems_are_told_all_at_once_but_no_more_than_a_hundred():
    nodes = [template(f"N{number}") for number in range(199)]
    assert len(problems(definition(nodes))) == MAX_PROBLEMS
    assert len(told({**definition([template("a"), template("b", "{{ nodes.c.output }}")], [("a", "gone")]),
                     "settings": {"timeout_s": -1}, "outputs": {"x": "{{"}, "schema_version": 0})) == 5  # fmt: skip
    assert {code for code, _ in told({"nodes": [template("a", "{{ nodes.c.output }}")]})} == {
        "MISSING_FIELD",
        "NOT_AN_ANCESTOR",
    }


def test_kinds_say_what_is_wrong_with_a_configuration():
    nodes = [
        {"id": "a", "kind": "delay", "config": {}},
        {"id": "b", "kind": "http", "config": {"url": "{{ x y }}", "headers": {"Host": "a"}}},
        {"id": "c", "kind": "llm", "config": {"prompt": "a", "response_schema": {"$ref": "#/$defs/x", "$defs": {}}}},
    ]
    assert told(definition(nodes))[:3] == [
        ("INVALID_CONFIG", "/nodes/0/config"),
        ("INVALID_CONFIG", "/nodes/1/config/headers"),
        ("INVALID_TEMPLATE", "/nodes/1/config/url"),
    ]


def test_the_largest_graphs_are_checked_soon():
    """Ways cross each other at every node, so that the conditions under which they run grow beyond what is computed."""
    steps = (("yes", 1), ("no", 2), ("yes", 7), ("no", 13))
    nodes = [condition(f"n{number}") for number in range(199)]
    nodes.append(template("n199", "{{ nodes.n0.output }} {{ nodes.n150.output }}"))
    edges = [(f"n{n}", handle, f"n{n + step}") for n in range(199) for handle, step in steps if n + step < 200]
    said = definition(nodes, edges)
    started = time.process_time()
    assert [problem.message for problem in problems({**said, "inputs": INPUTS})] == [
        "n150 may have no output here: give a default."
    ]
    assert time.process_time() - started < 5
    started = time.process_time()
    parse(said)
    assert time.process_time() - started < 0.2


def test_parsing_orders_nodes_and_fills_in_defaults():
    said = definition(
        [template("c", retry={"max_attempts": 3}), template("a", name="A", timeout_s=5), container("m", template("x"))],
        [("a", "c")],
        settings={"timeout_s": 5},
        outputs={"x": 1},
    )
    parsed = parse(said)
    assert list(parsed.graph.nodes) == ["a", "m", "c"]
    assert (parsed.settings, parsed.outputs, parsed.inputs) == (Settings(timeout_s=5), {"x": 1}, {})
    assert [node.pointer for node in parsed.all_nodes()] == [
        "/nodes/1",
        "/nodes/2",
        "/nodes/0",
        "/nodes/2/config/body/nodes/0",
    ]
    assert parsed.graph.nodes["c"].retry == Retry(max_attempts=3)
    assert set(parsed.bodies) == {"m"}


def test_differences_are_told_by_nodes_and_edges():
    before = definition(
        [template("a"), template("b"), container("m", template("x"))],
        [("a", "b")],
        settings={"timeout_s": 5},
        layout={"a": 1},
    )
    after = definition(
        [template("b", "new", name="B"), template("c"), container("m", template("x", "new"), template("y"), items=[1])],
        [("b", "ok", "c")],
        inputs={"type": "object"},
        layout={"a": True},
    )
    assert diff(before, after) == {
        "nodes": {
            "added": ["c", "y"],
            "removed": ["a"],
            "changed": [
                {
                    "id": "b",
                    "changes": [
                        {"pointer": "/config/template", "before": "b", "after": "new"},
                        {"pointer": "/name", "after": "B"},
                    ],
                },
                {"id": "m", "changes": [{"pointer": "/config/items", "before": [], "after": [1]}]},
                {"id": "x", "changes": [{"pointer": "/config/template", "before": "x", "after": "new"}]},
            ],
        },
        "edges": {
            "added": [{"from": "b", "to": "c", "handle": "ok"}],
            "removed": [{"from": "a", "to": "b", "handle": "ok"}],
        },
        "inputs": [{"pointer": "/type", "after": "object"}],
        "settings": [{"pointer": "/timeout_s", "before": 5}],
        "outputs": [],
        "is_layout_changed": True,
    }
    assert diff({}, after)["nodes"]["added"] == ["b", "c", "m", "x", "y"]


def test_diagrams_show_graphs_bodies_handles_and_states():
    said = {**branching()}
    said["nodes"].append(container("each", template("end_", name="x")))
    text = mermaid(
        parse(said), {"ask": "succeeded", "no": "skipped", "each[0].end_": "succeeded", "each[1].end_": "failed"}
    )
    assert text.startswith("flowchart TD\n")
    lines = text.splitlines()
    assert '  n_ask{{"ask<br/>condition"}}' in lines
    assert '  n_ask -->|"yes"| n_yes' in lines
    assert lines.index('  subgraph n_each["each<br/>map"]') + 1 == lines.index('    n_end_["x<br/>template"]')
    assert "  class n_end_ failed" in lines
    assert "  class n_no skipped" in lines


@given(st.text(max_size=30))
def test_nothing_breaks_out_of_a_diagram(name):
    text = mermaid(parse(definition([template("a", name=name)])))
    assert text.count("\n") == 2
    label = text.splitlines()[1].removeprefix('  n_a["').removesuffix('<br/>template"]')
    assert not set(label) & set("\"'<>&[](){}|`\\\r\n\u2028\u2029")


def test_words_of_mermaid_are_no_names_in_a_diagram():
    assert "  n_end[" in mermaid(parse(definition([template("end")])))


def test_long_keys_multiply_nothing():
    few, many = ({"k" * 100_000: {f"a{n}": 1 for n in range(count)}} for count in (1, 3_000))
    before, after = (definition([template("a", on_error="default", default_output=one)]) for one in (few, many))
    (changed,) = diff(before, after)["nodes"]["changed"]
    assert sum(len(change["pointer"]) for change in changed["changes"]) < 200_000
    found = problems(definition([{"id": "a", "kind": "transform", "config": {"expression": "@", "input": many}}]))
    assert [problem.code for problem in found] == ["VALUE_TOO_LARGE"]
