"""Published workflows and their runs, worked at in this process."""

import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from apps.workflows.engine import checkpoints, queue
from apps.workflows.engine.running import work_at
from apps.workflows.models import Workflow, WorkflowRun, WorkflowVersion
from tests.executions.conftest import make_model, make_prompt, model  # noqa: F401 (fixtures)

WORKFLOWS = "/api/v1/workflows"
RUNS = "/api/v1/workflow-runs"
Json = Any


def definition(nodes: list[Json], edges: list[Json] = (), **more: Json) -> Json:
    """Edges are (from, to) or (from, handle, to)."""
    listed = [{"from": edge[0], "to": edge[-1], **({"handle": edge[1]} if len(edge) == 3 else {})} for edge in edges]
    return {"schema_version": 1, "nodes": nodes, "edges": listed, **more}


def template(node_id: str, text: str = "", **more: Json) -> Json:
    return {"id": node_id, "kind": "template", "config": {"template": text or node_id}, **more}


def transform(node_id: str, expression: str, **more: Json) -> Json:
    return {"id": node_id, "kind": "transform", "config": {"expression": expression}, **more}


def failing(node_id: str, **more: Json) -> Json:
    """A node whose every attempt fails, and not so that another could succeed."""
    return {"id": node_id, "kind": "transform", "config": {"expression": "abs(@)", "input": "no number"}, **more}


@pytest.fixture
def make_version(organization):
    """A version as publishing stores it; nothing of it is checked."""

    def make(said: Json, *, pins: Json = None, of=organization, **fields: Json) -> WorkflowVersion:
        slug = fields.pop("slug", f"flow-{uuid4()}")
        workflow = Workflow.objects.create(organization=of, slug=slug, name=slug, draft=said, **fields)
        version = WorkflowVersion.objects.create(
            organization=of, workflow=workflow, version_number=1, definition=said, pins=pins or {}
        )
        workflow.current_version = version
        workflow.save_fields("current_version")
        return version

    return make


@pytest.fixture
def start():
    """A queued run of a version."""

    def begin(version: WorkflowVersion, inputs: Json = None, **more: Json) -> WorkflowRun:
        return queue.start_run(workflow=version.workflow, version=version, inputs=inputs or {}, **more)

    return begin


@pytest.fixture
def work():
    """Work at all runs that are ready, as a worker does; gives the run as it is then."""

    def until_idle(run: WorkflowRun) -> WorkflowRun:
        try:
            while (taken := queue.take()) is not None:
                work_at(taken)
            run.refresh_from_db()
        finally:
            if threading.current_thread() is not threading.main_thread():
                connection.close()
        return run

    yield until_idle
    checkpoints.close_pool()


@pytest.fixture
def run_of(make_version, start, work):
    """A run of this definition, worked at until it ends or waits."""

    def run(said: Json, inputs: Json = None, **more: Json) -> WorkflowRun:
        return work(start(make_version(said, **more), inputs))

    return run


def states(run: WorkflowRun) -> dict[str, str]:
    """The newest attempt's status of each node that was come to."""
    return {step.path: step.status for step in run.steps.order_by("path", "attempt")}


def event_types(run: WorkflowRun) -> list[str]:
    return list(run.events.order_by("number").values_list("type", flat=True))


def forget_checkpoints(run: WorkflowRun) -> None:
    """As if its last walk had not come to its end."""
    with connection.cursor() as cursor:
        for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = %s", [str(run.id)])  # noqa: S608 (names above)


def blocked_session() -> int:
    """The process id of the session that waits for a lock of this one's, as soon as there is one."""
    deadline = time.monotonic() + 10
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            row = cursor.fetchone()
        if row:
            return int(row[0])
        assert time.monotonic() < deadline
        time.sleep(0.02)
