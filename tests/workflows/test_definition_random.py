"""Random definitions: valid ones are taken, spoiled ones are told of by their codes, what runs is known exactly."""

import copy
import json
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.workflows.definition.diff import diff
from apps.workflows.definition.graphs import parts_of
from apps.workflows.definition.mermaid import mermaid
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.transfer import dump_yaml, load_yaml
from apps.workflows.definition.validation import problems
from tests.workflows.graphs import definitions, handles, runs, ways
from tests.workflows.reference import comparable, differences, interpret

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(definitions())
def test_valid_definitions_are_taken(definition):
    assert problems(definition) == []
    assert len(list(parse(definition).all_nodes())) == json.dumps(definition).count('"kind": ')
    assert load_yaml(dump_yaml(definition)) == definition
    assert mermaid(parse(definition)).count("-->") == json.dumps(definition).count('"from": ')
    assert diff(definition, copy.deepcopy(definition))["nodes"] == {"added": [], "removed": [], "changed": []}


@quick
@given(definitions(max_nodes=6))
def test_what_can_be_skipped_is_known_exactly(definition):
    """Compared with all ways through the graph, tried one by one."""
    for part in parts_of(definition):
        by_id = {node["id"]: node for node in _graph_at(definition, part.pointer)["nodes"]}
        nodes = [by_id[node_id] for node_id in part.graph.nodes]
        taken = list(ways(nodes, _graph_at(definition, part.pointer)["edges"]))
        for one, when in product(by_id, [*by_id, None]):
            relevant = [way for way in taken if when is None or when in way]
            lacks_output = any(way.get(one, "error") == "error" for way in relevant)
            assert part.activity.can_be_skipped(one, when) == lacks_output, (one, when)
            lacks_error = any(way.get(one) != "error" for way in relevant)
            assert part.activity.can_have_no_error(one, when) == lacks_error, (one, when)


@quick
@given(runs())
def test_the_reference_comes_to_an_end_that_fits_its_own_states(given_run):
    definition, inputs = given_run
    outcome = interpret(definition, inputs)
    assert outcome.status in {"succeeded", "failed"}
    assert (outcome.outputs is None) == (outcome.status == "failed")
    assert differences(outcome, outcome.states) == []
    assert all(comparable(state)["handle"] is None for state in outcome.states.values() if state["status"] == "skipped")


def test_differences_tell_of_what_did_not_run_and_of_what_should_not_have():
    definition = {
        "schema_version": 1,
        "nodes": [{"id": "a", "kind": "template", "config": {"template": "x"}}],
    }
    expected = interpret(definition, {})
    assert differences(expected, {}) == ["a did not run"]
    wrong = {"a": {"status": "ok", "handle": "ok", "output": "y"}, "b": {"status": "skipped", "output": None}}
    assert len(differences(expected, wrong)) == 2


def _graph_at(definition, pointer):
    found = definition
    for step in pointer.split("/")[1:]:
        found = found[int(step) if isinstance(found, list) else step]
    return found


def _duplicate_id(definition, draw):
    definition["nodes"].append({"id": definition["nodes"][0]["id"], "kind": "template", "config": {"template": "x"}})


def _duplicate_edge(definition, draw):
    definition["edges"] += [dict(_some_edge(definition, draw))] * 2


def _self_edge(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    definition["edges"].append({"from": node["id"], "to": node["id"], "handle": handles(node)[0]})


def _unknown_node(definition, draw):
    definition["edges"].append({**_some_edge(definition, draw), "to": "nowhere"})


def _edge_out_of_the_graph(definition, draw):
    node = {"id": "inner_1", "kind": "template", "config": {"template": "x"}}
    config = {"items": [], "body": {"nodes": [node]}}
    definition["nodes"].append({"id": "around", "kind": "map", "config": config})
    definition["edges"].append({**_some_edge(definition, draw), "to": "inner_1"})


def _cycle(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    definition["nodes"].append({"id": "back", "kind": "join", "config": {"mode": "any"}})
    definition["edges"].append({"from": node["id"], "to": "back", "handle": handles(node)[0]})
    definition["edges"].append({"from": "back", "to": node["id"]})


def _unknown_handle(definition, draw):
    definition["edges"].append({**_some_edge(definition, draw), "handle": "elsewhere"})


def _error_of_what_fails(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    if node.get("on_error") == "branch":
        node["on_error"] = "fail"
        definition["edges"] = [edge for edge in definition["edges"] if edge["from"] != node["id"]]
    definition["nodes"].append({"id": "handler", "kind": "template", "config": {"template": "x"}})
    definition["edges"].append({"from": node["id"], "to": "handler", "handle": "error"})


def _no_error_edge(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    node["on_error"] = "branch"
    definition["edges"] = [
        edge for edge in definition["edges"] if (edge["from"], edge.get("handle")) != (node["id"], "error")
    ]


def _never_active(definition, draw):
    """Waits for two branches of one condition."""
    nodes, edges = definition["nodes"], definition["edges"]
    cases = [{"handle": "left", "expr": "inputs.number > 1"}]
    nodes.append({"id": "fork", "kind": "condition", "config": {"cases": cases, "default": "right"}})
    nodes.append({"id": "both", "kind": "join", "config": {"mode": "all"}})
    edges += [{"from": "fork", "to": "both", "handle": "left"}, {"from": "fork", "to": "both", "handle": "right"}]


def _reference_forward(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    value = {"$ref": "nodes.reader.output", "default": 1}
    definition["nodes"].append({"id": "reader", "kind": "transform", "config": {"expression": "@", "input": value}})
    definition["edges"].append({"from": node["id"], "to": "reader", "handle": handles(node)[0]})


def _reference_to_a_branch(definition, draw):
    cases = [{"handle": "left", "expr": "inputs.number > 1"}]
    definition["nodes"] += [
        {"id": "fork", "kind": "condition", "config": {"cases": cases, "default": "right"}},
        {"id": "left", "kind": "template", "config": {"template": "x"}},
        {"id": "after", "kind": "template", "config": {"template": "{{ nodes.left.output }}"}},
    ]
    definition["edges"] += [
        {"from": "fork", "to": "left", "handle": "left"},
        {"from": "fork", "to": "after", "handle": "right"},
        {"from": "left", "to": "after"},
    ]


def _output_of_nothing(definition, draw):
    definition["outputs"]["wrong"] = "{{ nodes.nowhere.output }}"


def _unknown_input(definition, draw):
    definition["outputs"]["wrong"] = "{{ inputs.nothing }}"


def _root_of_a_map(definition, draw):
    definition["outputs"]["wrong"] = {"$ref": "item.name"}


def _root_of_nothing(definition, draw):
    definition["outputs"]["wrong"] = {"$ref": "secrets.name", "default": 1}


def _unknown_field(definition, draw):
    draw(st.sampled_from([definition, *definition["nodes"]]))["colour"] = "red"


def _missing_field(definition, draw):
    del draw(st.sampled_from(definition["nodes"]))["id"]


def _unknown_kind(definition, draw):
    draw(st.sampled_from(definition["nodes"]))["kind"] = "python"


def _wrong_type(definition, draw):
    draw(st.sampled_from(definition["nodes"]))["name"] = 5


def _some_edge(definition, draw):
    node = draw(st.sampled_from(definition["nodes"]))
    definition["nodes"].append({"id": "more", "kind": "template", "config": {"template": "x"}})
    return {"from": node["id"], "to": "more", "handle": handles(node)[0]}


MUTATIONS = {
    _duplicate_id: "DUPLICATE_ID",
    _duplicate_edge: "DUPLICATE_EDGE",
    _self_edge: "SELF_EDGE",
    _unknown_node: "UNKNOWN_NODE",
    _edge_out_of_the_graph: "UNKNOWN_NODE",
    _cycle: "CYCLE",
    _unknown_handle: "UNKNOWN_HANDLE",
    _error_of_what_fails: "UNKNOWN_HANDLE",
    _no_error_edge: "MISSING_ERROR_EDGE",
    _never_active: "UNREACHABLE",
    _reference_forward: "NOT_AN_ANCESTOR",
    _reference_to_a_branch: "MAY_BE_SKIPPED",
    _output_of_nothing: "NOT_AN_ANCESTOR",
    _unknown_input: "UNKNOWN_INPUT",
    _root_of_a_map: "UNKNOWN_ROOT",
    _root_of_nothing: "UNKNOWN_ROOT",
    _unknown_field: "UNKNOWN_FIELD",
    _missing_field: "MISSING_FIELD",
    _unknown_kind: "UNKNOWN_KIND",
    _wrong_type: "INVALID_TYPE",
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_spoiled_is_told_of(mutation, data):
    definition = copy.deepcopy(data.draw(definitions(max_nodes=5)))
    mutation(definition, data.draw)
    found = problems(definition)
    assert MUTATIONS[mutation] in {problem.code for problem in found}, found
    assert all(_exists(definition, problem.pointer) for problem in found), found


def _exists(definition, pointer):
    """Whether there is what a pointer points at; the pointer of a default handle is that of what has it."""
    found = definition
    for step in pointer.split("/")[1:]:
        key = int(step) if isinstance(found, list) else step
        if isinstance(found, dict) and key not in found:
            return key in {"handle", "edges"}
        found = found[key]
    return True
