"""An attempt that calls a model is recorded in the statements of its execution: both are stored, or neither."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.utils import timezone

from apps.executions.models import Execution
from apps.workflows.engine import queue
from apps.workflows.engine.running import work_at
from apps.workflows.models import WorkflowRun, WorkflowStep
from everquant.api.models import IdempotencyKey
from tests.executions.conftest import make_model  # noqa: F401 (a fixture)
from tests.upstream import Behaviour
from tests.workflows.conftest import definition, event_types, states, template

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(make_model):  # noqa: F811
    return make_model(is_default=True, input_price_usd=Decimal(1), output_price_usd=Decimal(2))


def llm(node_id, **more):
    return {"id": node_id, "kind": "llm", "config": {"prompt": "Hello"}, **more}


ASK = definition([llm("ask")], outputs={"said": {"$ref": "nodes.ask.output"}})


def take_over(run):
    """The run as another worker has it."""
    WorkflowRun.objects.filter(id=run.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    return queue.take()


def watched(statements, sql_part=None, fault=None):
    def look(execute, sql, params, many, context):
        statements.append(sql)
        if sql_part and sql_part in sql:
            return fault(lambda: execute(sql, params, many, context))
        return execute(sql, params, many, context)

    return connection.execute_wrapper(look)


def test_a_call_is_two_statements(make_version, start, work, model, upstream):
    work(start(make_version(ASK)))
    run, sent = start(make_version(definition([llm("first"), llm("second")], [("first", "second")]))), []
    with watched(sent):
        run = work(run)
    written = [sql for sql in sent if "workflows_workflowstep" in sql and "UPDATE workflows_workflowrun run" not in sql]
    assert len(written) == 4
    assert all("executions_execution" in sql for sql in written)
    assert event_types(run)[2:-1] == ["node.started", "node.delta", "node.succeeded"] * 2
    assert list(run.events.order_by("number").values_list("number", flat=True)) == list(range(1, run.last_event + 1))
    steps = WorkflowStep.objects.filter(run=run)
    executions = Execution.objects.filter(workflow_run_id=run.id)
    assert {step.execution_id for step in steps} == {execution.id for execution in executions}
    assert run.cost_usd == sum(step.cost_usd for step in steps) == sum(one.cost_usd for one in executions) > 0
    assert (run.node_count, run.input_tokens) == (2, sum(step.input_tokens for step in steps))


def test_who_has_lost_the_run_begins_no_call(make_version, start, model, upstream):
    run = start(make_version(ASK))
    lost = queue.take()
    assert take_over(run).fence == lost.fence + 1
    before, asked = WorkflowRun.objects.values().get(id=run.id), upstream.request_count
    work_at(lost)
    assert WorkflowRun.objects.values().get(id=run.id) == before
    assert upstream.request_count == asked
    assert not Execution.objects.exists()
    assert not WorkflowStep.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert event_types(run) == ["run.queued", "run.started"]


def test_who_loses_the_run_during_a_call_records_what_was_paid_for_and_nothing_else(
    make_version, start, work, model, upstream
):
    upstream.answer_always(Behaviour(delay_s=0.3))
    run = start(make_version(ASK))
    lost = queue.take()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(_work_and_close, lost)
        asked = upstream.request_count
        while upstream.request_count == asked:
            assert not working.done()
        assert take_over(run).fence == lost.fence + 1
        working.result(10)
    execution = Execution.objects.get()
    assert (execution.status, states(run)) == ("succeeded", {"ask": "running"})
    run.refresh_from_db()
    assert (run.status, run.cost_usd, run.node_count, event_types(run)[-1]) == ("running", 0, 0, "node.started")
    take_over_and_work(run)
    run.refresh_from_db()
    assert (run.status, run.outputs) == ("succeeded", {"said": "You said: Hello"})
    assert (upstream.request_count, run.cost_usd, run.node_count) == (asked + 1, execution.cost_usd, 1)
    assert run.steps.get().execution_id == execution.id


def take_over_and_work(run):
    work_at(take_over(run))


def _work_and_close(run):
    try:
        work_at(run)
    finally:
        connection.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("part", ["INSERT INTO executions_execution ", "UPDATE executions_execution "])
def test_a_statement_that_nobody_answered_counts_once(make_version, start, work, model, upstream, part, when):
    """The connection is lost before the statement was done, or after its commit."""
    run, sent, lost = start(make_version(ASK)), [], []

    def fault(execute):
        if lost:
            return execute()
        lost.append(when)
        if when == "after":
            execute()
        raise OperationalError("the connection is lost")

    with watched(sent, part, fault):
        run = work(run)
    assert lost
    assert (run.status, run.outputs) == ("succeeded", {"said": "You said: Hello"})
    succeeded = Execution.objects.get(status="succeeded")
    assert (run.cost_usd, run.steps.get(status="succeeded").execution_id) == (succeeded.cost_usd, succeeded.id)
    types = event_types(run)
    assert (types.count("node.succeeded"), types.count("node.delta")) == (1, 1)
    assert list(run.events.order_by("number").values_list("number", flat=True)) == list(range(1, run.last_event + 1))


def test_an_attempt_that_fails_before_its_call_was_begun_too(make_version, start, work, model, upstream):
    nodes = [{"id": "ask", "kind": "llm", "config": {"prompt": {"$ref": "inputs.absent"}}, "on_error": "branch"}]
    run = work(start(make_version(definition([*nodes, template("after")], [("ask", "error", "after")]))))
    assert (run.status, states(run)) == ("succeeded", {"ask": "failed", "after": "succeeded"})
    assert event_types(run)[2:4] == ["node.started", "node.failed"]
    assert not Execution.objects.exists()


def test_what_the_database_refuses_of_a_node_does_not_lose_its_answer(make_version, start, work, model, upstream):
    def refuse(execute):
        raise DataError("invalid input syntax")

    run, sent = start(make_version(ASK)), []
    with watched(sent, "node_count = node_count + 1", refuse):
        run = work(run)
    assert Execution.objects.get().status == "succeeded"
    assert (run.status, run.outputs, run.node_count) == ("succeeded", {"said": "You said: Hello"}, 1)
    assert event_types(run)[2:-1] == ["node.started", "node.delta", "node.succeeded"]


def test_records_of_a_call_do_not_look_through_all_that_runs(make_version, start, work, model, upstream):
    """Where hardly anything runs, the index of what runs looks cheaper to the planner than the key."""
    run, sent = start(make_version(ASK)), []
    with watched(sent):
        work(run)
    written = [sql for sql in sent if "executions_execution " in sql and "companion" in sql]
    assert len(written) == 2
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ANALYZE executions_execution, workflows_workflowrun")
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in written:
            number = count(1)
            text = re.sub("%s", lambda _: f"${next(number)}", sql)  # noqa: B023 (used up in each turn)
            cursor.execute(f"EXPLAIN (GENERIC_PLAN) {text}")
            assert "lease" not in "\n".join(row[0] for row in cursor.fetchall())
