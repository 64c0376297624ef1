"""Runs beyond one walk: taken over, waiting, cancelled, limited, done again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from langgraph.checkpoint.base import empty_checkpoint

from apps.executions.models import Execution
from apps.users.principal import Principal
from apps.workflows.engine import again, checkpoints, ending, queue, steps
from apps.workflows.engine.checkpoints import RunSaver
from apps.workflows.engine.running import work_at
from apps.workflows.models import RunStatus, StepStatus, WorkflowRun, WorkflowStep, WorkflowVersion
from everquant.api.errors import BadRequest, Conflict
from tests.executions.conftest import make_model  # noqa: F401 (a fixture)
from tests.upstream import Behaviour
from tests.workflows.conftest import (
    blocked_session,
    definition,
    event_types,
    forget_checkpoints,
    states,
    template,
    transform,
)

pytestmark = pytest.mark.django_db(transaction=True)

CHAIN = definition(
    [template("first", "first of now"), template("second", "{{nodes.first.output}}, then")],
    [("first", "second")],
    outputs={"said": {"$ref": "nodes.second.output"}},
)
PAUSED = definition([{"id": "pause", "kind": "delay", "config": {"seconds": 3600}}])


@pytest.fixture
def model(make_model):  # noqa: F811
    return make_model(is_default=True)


@pytest.fixture
def by(editor):
    return Principal(editor.user.id, editor.organization.id, editor.user.email, "editor", frozenset())


def llm(node_id, prompt="Hello", **more):
    return {"id": node_id, "kind": "llm", "config": {"prompt": prompt}, **more}


def expire(run):
    WorkflowRun.objects.filter(id=run.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_run_whose_worker_is_gone_goes_on_in_another_and_what_had_ended_is_not_done_again(make_version, start, work):
    run = start(make_version(CHAIN))
    dead = queue.take()
    now = timezone.now()
    steps.record(
        dead,
        steps.Step(path="first", node_id="first", kind="template", attempt=1, status=StepStatus.SUCCEEDED,
                   event="node.succeeded", started_at=now, finished_at=now, handle="ok", output="first of then"),
    )  # fmt: skip
    assert queue.take() is None, "its lease is not over"
    expire(run)
    run = work(run)
    assert (run.status, run.outputs, run.fence) == ("succeeded", {"said": "first of then, then"}, 2)
    assert WorkflowStep.objects.filter(run=run).count() == 2


def test_a_worker_that_lost_its_run_writes_nothing_any_more(make_version, start):
    run = start(make_version(CHAIN))
    lost = queue.take()
    expire(run)
    holder = queue.take()
    assert (holder.id, holder.fence) == (lost.id, lost.fence + 1)
    before = WorkflowRun.objects.values().get(id=run.id)
    work_at(lost)
    assert not ending.finish(lost, RunStatus.SUCCEEDED)
    assert not queue.hand_back(lost, active_ms=1)
    assert not queue.let_wait(lost, wake_at=None, active_ms=1)
    with pytest.raises(steps.LeaseLost), RunSaver(lost)._cursor(pipeline=True):
        pass
    assert WorkflowRun.objects.values().get(id=run.id) == before
    assert not WorkflowStep.objects.exists()
    checkpoints.close_pool()


def test_an_attempt_that_was_cut_off_is_made_again_with_the_same_key(make_version, start, work, model, upstream):
    """The dead worker's call had been recorded: its answer is taken, nobody is asked again."""
    said = definition([llm("ask")], outputs={"said": {"$ref": "nodes.ask.output"}})
    run = start(make_version(said))
    dead = queue.take()
    work_at(dead)
    asked = upstream.request_count
    WorkflowRun.objects.filter(id=run.id).update(
        status="running", finished_at=None, outputs=None, lease_expires_at=timezone.now()
    )
    WorkflowStep.objects.update(status="running", handle="", output=None, finished_at=None)
    forget_checkpoints(run)
    expire(run)
    run = work(run)
    assert (run.status, run.outputs) == ("succeeded", {"said": "You said: Hello"})
    assert upstream.request_count == asked
    assert Execution.objects.count() == 1


def count_checkpoints(run):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM checkpoints WHERE thread_id = %s", [str(run.id)])
        return cursor.fetchone()[0]


def test_a_delay_holds_no_worker_and_other_branches_go_on_meanwhile(make_version, start, work):
    said = definition(
        [{"id": "pause", "kind": "delay", "config": {"seconds": 3600}}, template("after"), template("beside"),
         template("beside2")],
        [("pause", "after"), ("beside", "beside2")],
    )  # fmt: skip
    run = work(start(make_version(said)))
    assert run.status == RunStatus.WAITING
    assert timedelta(seconds=3500) < run.wake_at - timezone.now() < timedelta(seconds=3601)
    assert run.lease_expires_at is None
    assert states(run) == {"pause": "waiting", "beside": "succeeded", "beside2": "succeeded"}
    assert event_types(run)[-1] == "run.waiting"
    assert "node.waiting" in event_types(run)
    assert queue.wake_due() == 0
    WorkflowStep.objects.filter(path="pause").update(started_at=timezone.now() - timedelta(hours=1))
    assert queue.wake_due(timezone.now() + timedelta(hours=1)) == 1
    run = work(run)
    assert (run.status, states(run)["after"]) == ("succeeded", "succeeded")
    assert WorkflowStep.objects.filter(run=run).count() == 4


def test_a_run_that_is_woken_while_a_worker_has_it_is_looked_at_again(make_version, start):
    run = start(make_version(CHAIN))
    taken = queue.take()
    with transaction.atomic():
        assert queue.wake(run.id)
    assert queue.let_wait(taken, wake_at=None, active_ms=0)
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


def test_a_waiting_or_queued_run_is_cancelled_at_once(make_version, start, work):
    said = definition([{"id": "pause", "kind": "delay", "config": {"seconds": 3600}}])
    waiting, queued = work(start(make_version(said))), start(make_version(CHAIN))
    for run in (waiting, queued):
        cancelled = ending.request_cancel(run=run)
        assert (cancelled.status, cancelled.finished_at is None) == ("cancelled", False)
        assert event_types(run)[-1] == "run.cancelled"
        with pytest.raises(Conflict):
            ending.request_cancel(run=run)
    assert queue.take() is None


def test_a_running_run_is_cancelled_with_the_call_that_it_waits_for(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(delay_s=30))
    run = start(make_version(definition([llm("ask"), template("after")], [("ask", "after")])))
    worker = threading.Thread(target=work, args=[run])
    worker.start()
    deadline = time.monotonic() + 10
    while not Execution.objects.filter(status="running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert ending.request_cancel(run=run).status == RunStatus.RUNNING
    worker.join(10)
    run.refresh_from_db()
    assert (run.status, states(run)) == ("cancelled", {"ask": "interrupted"})
    assert Execution.objects.get().status == "cancelled"


def test_a_run_ends_when_its_time_is_over(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(delay_s=30))
    run = work(start(make_version(definition([llm("ask")], settings={"timeout_s": 1}))))
    assert (run.status, run.error_code) == ("timed_out", "TIMEOUT")
    assert 900 < run.active_ms < 5000


def test_a_node_ends_when_its_time_is_over_and_may_branch(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(delay_s=30))
    said = definition([llm("ask", timeout_s=0.5, on_error="branch"), template("late")], [("ask", "error", "late")])
    run = work(start(make_version(said)))
    assert (run.status, states(run)) == ("succeeded", {"ask": "failed", "late": "succeeded"})


def test_attempts_are_made_as_often_as_the_node_says_and_each_is_a_row(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(status=500))
    run = work(start(make_version(definition([llm("ask", retry={"max_attempts": 2, "initial_s": 0.01})]))))
    assert (run.status, run.error_path) == ("failed", "ask")
    rows = WorkflowStep.objects.filter(run=run).order_by("attempt")
    assert [(row.attempt, row.status) for row in rows] == [(1, "failed"), (2, "failed")]
    assert len({row.execution_id for row in rows}) == 2
    assert event_types(run).count("node.retrying") == 1


def test_what_comes_of_an_answer_is_told_piece_by_piece_before_its_node_ends(
    make_version, start, work, model, upstream
):
    upstream.answer_always(Behaviour(words=["one ", "two ", "three ", "four "], interval_s=0.15))
    run = work(start(make_version(definition([llm("ask")]))))
    told = list(run.events.order_by("number"))
    pieces = [event for event in told if event.type == "node.delta"]
    end = next(event for event in told if event.type == "node.succeeded")
    assert len(pieces) > 1
    assert "".join(event.data["text"] for event in pieces) == end.data["output"]
    assert {(event.data["path"], event.data["attempt"]) for event in pieces} == {("ask", 1)}
    assert max(event.number for event in pieces) < end.number


def test_what_cannot_succeed_is_not_tried_again(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(status=400))
    run = work(start(make_version(definition([llm("ask", retry={"max_attempts": 3, "initial_s": 0.01})]))))
    assert (run.status, WorkflowStep.objects.filter(run=run).count()) == ("failed", 1)


def test_calls_are_counted_with_tokens_and_cost_and_a_run_spends_no_more_than_it_may(make_version, start, work, model):
    nodes = [llm("one"), llm("two"), llm("three")]
    edges = [("one", "two"), ("two", "three")]
    run = work(start(make_version(definition(nodes, edges))))
    spent = sum(execution.cost_usd for execution in Execution.objects.all())
    assert (run.status, run.cost_usd) == ("succeeded", spent)
    buckets = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    sent = sum(sum(getattr(execution, name) or 0 for name in buckets) for execution in Execution.objects.all())
    assert run.input_tokens == sent
    assert {execution.workflow_run_id for execution in Execution.objects.all()} == {run.id}
    one = Execution.objects.order_by("id").first().cost_usd
    poor = work(start(make_version(definition(nodes, edges, settings={"max_cost_usd": f"{one:f}"}))))
    assert (poor.status, poor.error_code, poor.error_path) == ("failed", "COST_LIMIT", "two")


def test_runs_of_a_workflow_and_of_an_organization_are_limited_and_organizations_take_turns(
    make_version, start, settings, outsider
):
    settings.WORKFLOW_RUNS_PER_ORGANIZATION = 2
    narrow, wide = make_version(CHAIN, max_concurrent_runs=1), make_version(CHAIN)
    first, second, third, fourth = start(narrow), start(narrow), start(wide), start(wide)
    theirs = start(make_version(CHAIN, of=outsider.organization))
    taken = [queue.take() for _ in range(4)]
    assert [run and run.id for run in taken] == [first.id, theirs.id, third.id, None]
    ending.finish(taken[0], RunStatus.SUCCEEDED)
    assert queue.take().id == second.id
    assert queue.take() is None
    ending.finish(taken[2], RunStatus.SUCCEEDED)
    assert queue.take().id == fourth.id


def test_a_retry_takes_over_what_had_ended_well(make_version, start, work, by, model, upstream):
    said = definition([llm("one"), llm("two", "again {{nodes.one.output}}")], [("one", "two")],
                      outputs={"said": {"$ref": "nodes.two.output"}})  # fmt: skip
    upstream.script([Behaviour(), Behaviour(status=400)])
    failed = work(start(make_version(said)))
    assert (failed.status, failed.error_path) == ("failed", "two")
    asked = upstream.request_count
    upstream.reset()
    asked = upstream.request_count
    run = work(again.retry_from(run=failed, by=by))
    assert (run.status, run.origin_id, run.source) == ("succeeded", failed.id, "retry")
    assert run.outputs == {"said": "You said: again You said: Hello"}
    assert upstream.request_count == asked + 1
    assert [(step.path, step.is_reused) for step in run.steps.order_by("path")] == [("one", True), ("two", False)]
    assert run.cost_usd == Execution.objects.get(id=run.steps.get(path="two").execution_id).cost_usd
    with pytest.raises(Conflict):
        again.retry_from(run=run, by=by)
    with pytest.raises(BadRequest):
        again.retry_from(run=run, by=by, node_id="nowhere")
    from_start = work(again.retry_from(run=run, by=by, node_id="one"))
    assert (from_start.status, upstream.request_count) == ("succeeded", asked + 3)


def test_a_run_that_ends_at_once_leaves_no_checkpoint(make_version, start, work):
    run = work(start(make_version(CHAIN)))
    assert (run.status, run.has_checkpoints) == ("succeeded", False)
    assert count_checkpoints(run) == 0


def test_checkpoints_are_deleted_some_time_after_the_end(make_version, start, work, settings):
    run = work(start(make_version(PAUSED)))
    assert (run.status, run.has_checkpoints) == ("waiting", True)
    WorkflowStep.objects.update(started_at=timezone.now() - timedelta(hours=1))
    queue.wake_due(timezone.now() + timedelta(hours=1))
    assert work(run).status == RunStatus.SUCCEEDED
    assert count_checkpoints(run) > 0
    assert checkpoints.purge() == 0
    settings.WORKFLOW_CHECKPOINTS_KEPT_S = 0
    assert checkpoints.purge() == 1
    assert count_checkpoints(run) == 0
    assert checkpoints.purge() == 0


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_checkpoints_of_runs_that_did_not_succeed_are_deleted_too(make_version, start, work, settings, end):
    pause = {"id": "pause", "kind": "delay", "config": {"seconds": 3600}}
    run = work(start(make_version(definition([pause, template("after", "{{inputs.absent}}")], [("pause", "after")]))))
    assert count_checkpoints(run) > 0
    if end == "cancelled":
        ending.request_cancel(run=run)
    else:
        WorkflowStep.objects.update(started_at=timezone.now() - timedelta(hours=1))
        queue.wake_due(timezone.now() + timedelta(hours=1))
    assert work(run).status == end
    settings.WORKFLOW_CHECKPOINTS_KEPT_S = 0
    assert checkpoints.purge() == 1
    assert count_checkpoints(run) == 0


def test_a_checkpoint_that_was_cut_off_with_the_database_is_stored_again(make_version, start, work):
    run = start(make_version(PAUSED))
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
            working = pool.submit(_work_at_next)
            cursor.execute("SELECT pg_terminate_backend(%s)", [blocked_session()])
        working.result(10)
    run.refresh_from_db()
    assert (run.status, run.has_checkpoints) == ("waiting", True)
    assert count_checkpoints(run) == 1
    checkpoints.close_pool()


def test_a_run_whose_worker_died_between_its_checkpoint_and_its_wait_goes_on(make_version, start, work, settings):
    run = start(make_version(PAUSED))
    dead = queue.take()
    saver = RunSaver(dead)
    config = {"configurable": {"thread_id": str(run.id), "checkpoint_ns": ""}}
    saver.put(config, empty_checkpoint(), {"step": 0}, {})
    assert count_checkpoints(run) == 0, "not before the walk is over"
    saver.store()
    expire(run)
    assert work(run).status == RunStatus.WAITING
    ending.request_cancel(run=run)
    settings.WORKFLOW_CHECKPOINTS_KEPT_S = 0
    assert checkpoints.purge() == 1
    assert count_checkpoints(run) == 0


def _work_at_next():
    try:
        work_at(queue.take())
    finally:
        connection.close()


def test_a_fork_takes_over_only_what_both_versions_come_to_in_the_same_way(make_version, start, work, by):
    """Pins of what stands in a body count as the container's own, and so does what leads to a node."""
    body = {"nodes": [template("write")], "edges": []}
    nodes = [
        template("first"), template("second"), {"id": "each", "kind": "map", "config": {"items": [1], "body": body}},
        {"id": "both", "kind": "join", "config": {}},
    ]  # fmt: skip
    old = make_version(definition(nodes, [("first", "both")]), pins={"write": {"version": 1}})
    new = WorkflowVersion.objects.create(
        organization=old.organization, workflow=old.workflow, version_number=2, pins={"write": {"version": 2}},
        definition=definition([*nodes, template("last")], [("first", "both"), ("second", "both"), ("both", "last")]),
    )  # fmt: skip
    run = work(again.fork_run(run=work(start(old)), by=by, version=new, node_id="last"))
    assert run.status == "succeeded"
    reused = {step.path for step in run.steps.filter(is_reused=True)}
    assert reused == {"first", "second"}
    assert run.steps.get(path="both").output == {"first": "first", "second": "second"}


def test_what_ended_in_a_body_is_not_done_again_when_the_database_is_away_for_a_moment(make_version, start, work):
    body = {"nodes": [transform("large", "inputs.text")], "edges": []}
    config = {"body": body, "max_iterations": 3, "until": "iteration == 1 && size(nodes.large.output) > 0"}
    run = start(make_version(definition([{"id": "loop", "kind": "loop", "config": config}])), {"text": "x" * 100_000})
    read = []

    def away(execute, sql, params, many, context):
        if sql.startswith("SELECT output::text") and params[1] == "loop[1].large":
            read.append(params)
            if len(read) == 1:
                raise OperationalError("the connection is lost")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(away):
        run = work(run)
    assert len(read) > 1
    assert (run.status, run.node_count) == ("succeeded", 3)
    ended = run.events.filter(type="node.succeeded").values_list("data", flat=True)
    assert sorted(event["path"] for event in ended) == ["loop", "loop[0].large", "loop[1].large"]


def test_a_node_that_kills_its_workers_is_given_up(make_version, start, work, model, upstream):
    run = start(make_version(definition([llm("deadly", on_error="branch"), template("after")],
                                        [("deadly", "error", "after")])))  # fmt: skip
    for _ in range(6):
        killed = queue.take()
        steps.record(
            killed,
            steps.Step(path="deadly", node_id="deadly", kind="llm", attempt=1, status=StepStatus.RUNNING,
                       event="node.started", started_at=timezone.now()),
        )  # fmt: skip
        expire(run)
    asked = upstream.request_count
    run = work(run)
    assert (run.status, states(run)) == ("succeeded", {"deadly": "failed", "after": "succeeded"})
    assert run.steps.get(path="deadly").error_code == "INTERRUPTED"
    assert upstream.request_count == asked


LARGE = transform("large", "inputs.text")
NOT_MUCH = {"type": "object", "properties": {"text": {"type": "string"}}}
TIMES = 30


@pytest.mark.parametrize(
    ("nodes", "edges", "outputs", "path"),
    [
        ([LARGE], [], {f"o{n}": {"$ref": "nodes.large.output"} for n in range(TIMES)}, "outputs.o"),
        (
            [
                LARGE,
                {
                    "id": "each",
                    "kind": "map",
                    "config": {
                        "items": list(range(TIMES)),
                        "body": {
                            "nodes": [template("one", "x")],
                            "edges": [],
                            "output": {"$ref": "nodes.large.output"},
                        },
                    },
                },
            ],
            [("large", "each")],
            {},
            "each",
        ),
    ],
    ids=["outputs", "map"],
)
def test_what_is_gathered_of_many_results_is_bounded(make_version, start, work, nodes, edges, outputs, path):
    version = make_version(definition(nodes, edges, inputs=NOT_MUCH, outputs=outputs))
    run = work(start(version, {"text": "x" * 900_000}))
    assert (run.status, run.error_code) == ("failed", "VALUE_TOO_LARGE")
    assert run.error_path.startswith(path)


def test_states_are_the_same_after_a_wait_whatever_handles_and_outputs_are_called(make_version, start, work):
    route = {"id": "route", "kind": "condition", "config": {"cases": [{"handle": "error", "expr": "true"}],
                                                            "default": "fine"}}  # fmt: skip
    pause = {"id": "pause", "kind": "delay", "config": {"seconds": 3600}}
    said = {"route": {"$ref": "nodes.route.output"}, "echo": {"$ref": "nodes.echo.output"}}
    nodes = [transform("echo", "inputs.given"), route, pause, template("after", "{{nodes.route.output}}")]
    edges = [("echo", "route"), ("route", "error", "pause"), ("pause", "after")]
    run = work(start(make_version(definition(nodes, edges, outputs=said)), {"given": {"$stored": "after"}}))
    assert run.status == "waiting"
    forget_checkpoints(run)
    WorkflowStep.objects.filter(path="pause").update(started_at=timezone.now() - timedelta(hours=1))
    queue.wake_due(timezone.now() + timedelta(hours=1))
    run = work(run)
    assert (run.status, run.outputs) == ("succeeded", {"route": "error", "echo": {"$stored": "after"}})


def test_a_record_whose_answer_was_lost_with_the_connection_counts_once(make_version, start, work):
    lost = []

    def lose(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if not lost and isinstance(params, dict) and params.get("status") == StepStatus.SUCCEEDED:
            lost.append(params["path"])
            raise OperationalError("the connection is lost")
        return answer

    run = start(make_version(CHAIN))
    with connection.execute_wrapper(lose):
        run = work(run)
    assert lost == ["first"]
    assert (run.status, run.node_count) == ("succeeded", 2)
    assert event_types(run) == ["run.queued", "run.started", "node.succeeded", "node.succeeded", "run.succeeded"]


def test_what_items_of_a_map_gave_before_a_wait_is_read_when_it_is_needed(make_version, start, work):
    pause = {"id": "pause", "kind": "delay", "config": {"seconds": 3600}}
    body = {"nodes": [transform("long", "inputs.text"), pause], "edges": [{"from": "long", "to": "pause"}],
            "output": {"$ref": "nodes.long.output"}}  # fmt: skip
    each = {"id": "each", "kind": "map", "config": {"items": [1, 2], "body": body}}
    said = definition([each], outputs={"all": {"$ref": "nodes.each.output.items"}})
    run = work(start(make_version(said), {"text": "x" * 10_000}))
    assert run.status == "waiting"
    assert steps.history(run)["each[1].long"].state["output"] == {"$stored": "each[1].long"}
    WorkflowStep.objects.filter(node_id="pause").update(started_at=timezone.now() - timedelta(hours=1))
    queue.wake_due(timezone.now() + timedelta(hours=1))
    run = work(run)
    assert (run.status, run.outputs) == ("succeeded", {"all": ["x" * 10_000] * 2})
    assert run.node_count == 5


def test_pieces_of_an_answer_outlast_a_lost_connection(make_version, start, work, model, upstream):
    upstream.answer_always(Behaviour(words=[f"word{number} " for number in range(10)], interval_s=0.12))
    run = start(make_version(definition([llm("ask")])))
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(_work_at_next)
        deadline = time.monotonic() + 10
        while not run.events.filter(type="node.started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with transaction.atomic(), connection.cursor() as cursor:
            WorkflowRun.objects.select_for_update().get(id=run.id)
            cursor.execute("SELECT pg_terminate_backend(%s)", [blocked_session()])
        working.result(10)
    pieces = run.events.filter(type="node.delta").order_by("number").values_list("data", flat=True)
    assert "".join(piece["text"] for piece in pieces) == run.steps.get(path="ask").output
