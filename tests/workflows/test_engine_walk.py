"""How graphs are walked: what runs, what is skipped, and the ways in which LangGraph's graphs are easily made wrong."""

import pytest

from apps.workflows.models import RunEvent, RunStatus, WorkflowStep
from tests.workflows.conftest import definition, event_types, failing, states, template, transform

pytestmark = pytest.mark.django_db(transaction=True)


def condition(node_id, expr, **more):
    return {
        "id": node_id,
        "kind": "condition",
        "config": {"cases": [{"handle": "yes", "expr": expr}], "default": "no"},
        **more,
    }


def join(node_id, mode="any"):
    return {"id": node_id, "kind": "join", "config": {"mode": mode}}


def test_a_chain_is_run_to_its_end(run_of):
    said = definition(
        [template("first", "Hello, {{inputs.name}}"), template("second", "{{nodes.first.output}}!")],
        [("first", "second")],
        outputs={"answer": {"$ref": "nodes.second.output"}, "all": "<{{nodes.first.output}}>"},
    )
    run = run_of(said, {"name": "Ada"})
    assert (run.status, run.outputs) == ("succeeded", {"answer": "Hello, Ada!", "all": "<Hello, Ada>"})
    assert states(run) == {"first": "succeeded", "second": "succeeded"}
    assert event_types(run) == ["run.queued", "run.started", "node.succeeded", "node.succeeded", "run.succeeded"]
    assert list(run.events.values_list("number", flat=True)) == [1, 2, 3, 4, 5]
    assert (run.node_count, run.fence, run.last_event) == (2, 1, 5)
    assert run.finished_at >= run.started_at


def test_a_join_of_branches_of_unequal_length_runs_once_and_after_the_longest(run_of):
    said = definition(
        [template(name) for name in ("start", "short", "long1", "long2", "long3", "end")],
        [("start", "short"), ("start", "long1"), ("long1", "long2"), ("long2", "long3"), ("short", "end"),
         ("long3", "end")],
    )  # fmt: skip
    run = run_of(said)
    assert run.status == RunStatus.SUCCEEDED
    assert WorkflowStep.objects.filter(run=run).count() == 6
    told = list(RunEvent.objects.filter(run=run, type="node.succeeded").values_list("data__path", flat=True))
    assert (told.count("end"), told[-1]) == (1, "end")


@pytest.mark.parametrize(("taken", "left_out"), [("yes", "no"), ("no", "yes")])
def test_a_join_after_a_skipped_branch_runs_and_the_branch_is_skipped_to_its_end(run_of, taken, left_out):
    said = definition(
        [condition("ask", "inputs.go"), template("yes"), template("yes2"), template("no"), template("no2"),
         join("end", "first")],
        [("ask", "yes", "yes"), ("yes", "yes2"), ("ask", "no", "no"), ("no", "no2"), ("yes2", "end"), ("no2", "end")],
        outputs={"took": {"$ref": "nodes.end.output"}},
    )  # fmt: skip
    run = run_of(said, {"go": taken == "yes"})
    assert (run.status, run.outputs) == ("succeeded", {"took": f"{taken}2"})
    assert states(run) == {
        "ask": "succeeded", "end": "succeeded", taken: "succeeded", f"{taken}2": "succeeded", left_out: "skipped",
        f"{left_out}2": "skipped",
    }  # fmt: skip


def test_a_join_of_all_is_skipped_with_any_of_its_branches(run_of):
    said = definition(
        [condition("ask", "inputs.go"), template("a"), template("b"), join("both", "all"), template("after")],
        [("ask", "yes", "a"), ("ask", "no", "b"), ("a", "both"), ("b", "both"), ("both", "after")],
    )
    run = run_of(said, {"go": True})
    assert run.status == RunStatus.SUCCEEDED
    assert (states(run)["both"], states(run)["after"]) == ("skipped", "skipped")


def test_a_map_over_an_empty_list_gives_an_empty_list_and_goes_on(run_of):
    said = definition(
        [{"id": "each", "kind": "map", "config": {"items": {"$ref": "inputs.list"}, "body": _shout()}},
         template("after", "after {{nodes.each.output.items}}")],
        [("each", "after")],
        outputs={"said": {"$ref": "nodes.after.output"}},
    )  # fmt: skip
    run = run_of(said, {"list": []})
    assert (run.status, run.outputs) == ("succeeded", {"said": "after []"})


def _shout():
    return {"nodes": [template("shout", "{{item}}!")], "edges": []}


def test_a_map_keeps_the_order_of_its_list(run_of):
    body = {
        "nodes": [template("shout", "{{item}}!{{index}}"), template("twice", "{{nodes.shout.output}}?")],
        "edges": [{"from": "shout", "to": "twice"}],
        "output": {"said": {"$ref": "nodes.twice.output"}},
    }
    config = {"items": {"$ref": "inputs.list"}, "max_concurrency": 4, "body": body}
    said = definition([{"id": "each", "kind": "map", "config": config}], outputs={"all": {"$ref": "nodes.each.output"}})
    run = run_of(said, {"list": ["a", "b", "c", "d", "e"]})
    assert run.outputs == {"all": {"items": [{"said": f"{c}!{i}?"} for i, c in enumerate("abcde")], "errors": []}}
    assert states(run)["each[3].twice"] == "succeeded"


@pytest.mark.parametrize(("mode", "items"), [("continue", ["a!", None, "c!"]), ("drop", ["a!", "c!"]), ("fail", None)])
def test_what_a_failing_item_does_to_its_map(run_of, mode, items):
    body = {
        "nodes": [
            condition("bad", "item == 'b'"), failing("boom"), template("shout", "{{item}}!"), join("end", "first"),
        ],
        "edges": [
            {"from": "bad", "handle": "yes", "to": "boom"}, {"from": "bad", "handle": "no", "to": "shout"},
            {"from": "boom", "to": "end"}, {"from": "shout", "to": "end"},
        ],
    }  # fmt: skip
    config = {"items": ["a", "b", "c"], "body": body, "on_item_error": mode, "max_concurrency": 1}
    said = definition([{"id": "each", "kind": "map", "config": config}], outputs={"all": {"$ref": "nodes.each.output"}})
    run = run_of(said)
    if mode == "fail":
        assert (run.status, run.error_path) == ("failed", "each")
        assert "Item 1, each[1].boom" in run.error_message
        assert "each[2].shout" not in states(run)
    else:
        assert run.outputs["all"]["items"] == items
        assert [error["index"] for error in run.outputs["all"]["errors"]] == [1]


def test_a_loop_goes_on_until_its_condition_holds(run_of):
    body = {"nodes": [transform("longer", "join('', [last || '', 'x'])")], "edges": []}
    config = {"body": body, "max_iterations": 5, "until": "last == 'xxx'"}
    said = definition(
        [{"id": "grow", "kind": "loop", "config": config}], outputs={"grown": {"$ref": "nodes.grow.output"}}
    )
    run = run_of(said)
    assert run.outputs == {"grown": {"last": "xxx", "iterations": 3, "is_done": True}}
    assert sorted(states(run)) == ["grow", "grow[0].longer", "grow[1].longer", "grow[2].longer"]


def test_a_loop_that_is_never_done_ends_after_its_iterations(run_of):
    config = {
        "body": {"nodes": [template("again", "{{iteration}}")], "edges": []},
        "max_iterations": 2,
        "until": "false",
    }
    said = definition([{"id": "loop", "kind": "loop", "config": config}], outputs={"o": {"$ref": "nodes.loop.output"}})
    assert run_of(said).outputs == {"o": {"last": "1", "iterations": 2, "is_done": False}}


def test_a_failing_node_fails_the_run_and_what_follows_it_never_runs(run_of):
    run = run_of(definition([template("a"), failing("b"), template("c")], [("a", "b"), ("b", "c")]))
    assert (run.status, run.error_path) == ("failed", "b")
    assert run.error_code
    assert run.error_message
    assert states(run) == {"a": "succeeded", "b": "failed"}
    assert event_types(run)[-2:] == ["node.failed", "run.failed"]


def test_an_error_that_branches_goes_on_by_its_handle(run_of):
    said = definition(
        [failing("b", on_error="branch"), template("fine"), template("sorry", "sorry: {{nodes.b.error.code}}")],
        [("b", "fine"), ("b", "error", "sorry")],
        outputs={"said": {"$ref": "nodes.sorry.output"}},
    )
    run = run_of(said)
    assert run.status == RunStatus.SUCCEEDED
    assert run.outputs["said"].startswith("sorry: ")
    assert states(run) == {"b": "failed", "fine": "skipped", "sorry": "succeeded"}


def test_a_default_stands_in_for_a_failure(run_of):
    said = definition(
        [failing("b", on_error="default", default_output={"n": 3}), template("c", "{{nodes.b.output.n}}")],
        [("b", "c")],
        outputs={"said": {"$ref": "nodes.c.output"}},
    )
    assert run_of(said).outputs == {"said": "3"}


def test_a_run_makes_no_more_node_executions_than_it_may(run_of):
    config = {"body": {"nodes": [template("again")], "edges": []}, "max_iterations": 50}
    said = definition([{"id": "loop", "kind": "loop", "config": config}], settings={"max_node_executions": 7})
    run = run_of(said)
    assert (run.status, run.error_code) == ("failed", "NODE_LIMIT")
    assert run.node_count <= 8


def test_a_large_output_is_stored_once_and_referred_to(run_of):
    said = definition(
        [transform("large", "inputs.text"), transform("length", "length(nodes.large.output)")],
        [("large", "length")],
        outputs={"length": {"$ref": "nodes.length.output"}},
    )
    run = run_of(said, {"text": "x" * 200_000})
    assert run.outputs == {"length": 200_000}
    told = {event.data.get("path"): event.data for event in run.events.all()}
    assert ("output" in told["length"], "output" in told["large"]) == (True, False)


def test_a_sub_workflow_is_run_as_a_node(make_version, run_of):
    child = make_version(
        definition(
            [template("greet", "Hello, {{inputs.who}}")],
            inputs={"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]},
            outputs={"greeting": {"$ref": "nodes.greet.output"}},
        )
    )
    config = {"workflow": child.workflow.slug, "inputs": {"who": "{{inputs.name}}"}}
    said = definition(
        [{"id": "child", "kind": "subworkflow", "config": config}],
        outputs={"o": {"$ref": "nodes.child.output.greeting"}},
    )
    pins = {"child": {"workflow_id": str(child.workflow_id), "version_id": str(child.id), "version": 1}}
    run = run_of(said, {"name": "Ada"}, pins=pins)
    assert (run.status, run.outputs) == ("succeeded", {"o": "Hello, Ada"})
    assert states(run) == {"child": "succeeded", "child.greet": "succeeded"}
    refused = run_of(said, {"name": 3}, pins=pins)
    assert (refused.status, refused.error_code, refused.error_path) == ("failed", "INVALID_INPUTS", "child")


def test_a_pin_to_another_organizations_version_runs_nothing_of_it(make_version, run_of, outsider):
    theirs = make_version(
        definition([template("secret")], outputs={"o": {"$ref": "nodes.secret.output"}}), of=outsider.organization
    )
    node = {"id": "child", "kind": "subworkflow", "config": {"workflow": theirs.workflow.slug, "inputs": {}}}
    pins = {"child": {"workflow_id": str(theirs.workflow_id), "version_id": str(theirs.id), "version": 1}}
    run = run_of(definition([node]), pins=pins)
    assert (run.status, run.error_path) == ("failed", "child")
    assert states(run) == {"child": "failed"}


def test_what_is_nested_too_deep_to_be_named_fails_the_run_and_says_so(make_version, run_of):
    said, pins = definition([template("end")]), {}
    for level in range(8):
        node_id = f"{'a' * 62}_{level}"
        version = make_version(said, pins=pins)
        node = {"id": node_id, "kind": "subworkflow", "config": {"workflow": version.workflow.slug, "inputs": {}}}
        pins = {node_id: {"workflow_id": str(version.workflow_id), "version_id": str(version.id), "version": 1}}
        said = definition([node])
    run = run_of(said, pins=pins)
    assert (run.status, run.error_code) == ("failed", "TOO_DEEP")
