"""Real workers: told to stop, killed, and several at once."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker

from apps.executions.models import INTERRUPTED, Execution, ExecutionEvent, Status
from apps.executions.sweeping import sweep_up
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.executions.test_processes import environment
from tests.project.processes import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"variables": {"name": "Ada"}, "mode": "async"}


@pytest.fixture
def start():
    workers = []

    def start_worker(concurrency=2, **variables):
        before = list(ProcrastinateWorker.objects.values_list("id", flat=True))
        command = [sys.executable, "manage.py", "worker", "--concurrency", str(concurrency)]
        workers.append(subprocess.Popen(command, env={**environment(), **variables}, start_new_session=True))
        wait_until(lambda: ProcrastinateWorker.objects.exclude(id__in=before).exists(), "the worker is registered")
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.wait(30)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


@pytest.fixture
def queue(editor):
    def post(prompt, **body):
        answer = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, **body})
        assert answer.status_code == 202, answer.content
        return answer.json()["data"]["id"]

    return post


def status_of(execution_id) -> str:
    return Execution.objects.get(id=execution_id).status


def test_told_to_stop_it_finishes_what_runs_and_leaves_the_rest(start, queue, make_model, make_prompt, upstream):
    upstream.answer_always(Behaviour(delay_s=1.0))
    make_model(is_default=True)
    prompt = make_prompt()
    ids = [queue(prompt) for _ in range(3)]
    worker = start(concurrency=2)
    upstream.wait_for(lambda server: server.request_count == 1, timeout_s=20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert sorted(status_of(key) for key in ids) == ["queued", "queued", "succeeded"]
    assert ProcrastinateJob.objects.filter(task_name="executions.run_queued", status="todo").exists()

    start(concurrency=2)
    wait_until(lambda: {status_of(key) for key in ids} == {"succeeded"}, "the next worker goes on")
    assert upstream.request_count == 3


def test_a_call_that_outlasts_the_drain_is_recorded_as_interrupted(start, queue, make_model, make_prompt, upstream):
    upstream.answer_always(Behaviour(words=["word "] * 4000, interval_s=0.02))
    make_model(is_default=True)
    execution_id = queue(make_prompt(), stream=True)
    worker = start(WORKER_DRAIN_S="0.5")
    wait_until(ExecutionEvent.objects.exists, "some of the answer is stored")
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    row = Execution.objects.select_related("payload").get(id=execution_id)
    assert (row.status, row.error_code, row.is_usage_estimated) == (Status.FAILED, INTERRUPTED, True)
    assert row.payload.output.startswith("word word")
    assert row.cost_usd > 0


def test_a_call_that_outlasts_the_drain_without_an_answer_is_handed_back(
    start, editor, make_model, make_prompt, upstream
):
    upstream.script([Behaviour(delay_s=60)])
    make_model(is_default=True)
    body = {"prompt_id": make_prompt()["id"], "rows": [{"variables": {"name": name}} for name in ("Ada", "Bob")]}
    batch = editor.client.post(f"{EXECUTIONS}/batch", body).json()["data"]
    worker = start(concurrency=2, WORKER_DRAIN_S="0.5")
    upstream.wait_for(lambda server: server.request_count == 1, timeout_s=20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    row = Execution.objects.get(batch_row=0)
    assert (row.status, row.attempts.get().error_code) == (Status.QUEUED, INTERRUPTED)
    assert editor.client.get(f"{EXECUTIONS}/batches/{batch['id']}").json()["data"]["counts"]["queued"] == 2

    start(concurrency=2)
    wait_until(lambda: Execution.objects.filter(status=Status.SUCCEEDED).count() == 2, "the next worker goes on")
    keys = [request.headers["idempotency-key"] for request in upstream.requests]
    assert (keys.count(str(row.id)), len(keys)) == (2, 3)


def test_killed_in_the_middle_nothing_is_lost(start, queue, make_model, make_prompt, upstream):
    upstream.script([Behaviour(delay_s=60)])
    make_model(is_default=True)
    prompt = make_prompt()
    ids = [queue(prompt) for _ in range(2)]
    worker = start(concurrency=2, EXECUTION_LEASE="2")
    upstream.wait_for(lambda server: server.request_count == 1, timeout_s=20)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(30)
    assert [status_of(key) for key in ids] == ["running", "queued"]

    wait_until(lambda: Execution.objects.interrupted().exists(), "the lease is over", timeout_s=10)
    sweep_up()
    row = Execution.objects.get(id=ids[0])
    assert (row.status, row.error_code) == (Status.FAILED, INTERRUPTED)
    start(concurrency=2)
    wait_until(lambda: status_of(ids[1]) == "succeeded", "another worker takes what was queued")
    assert upstream.request_count == 2


def test_jobs_of_a_silent_worker_are_queued_again(start, editor):
    """But for one whose queueing lock another has taken meanwhile."""
    locked = app.configure_task("executions.sweep", queueing_lock="of both", schedule_in={"days": 1})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s) RETURNING id",
            [timezone.now() - timedelta(minutes=2)],
        )
        silent = cursor.fetchone()[0]
        lost = locked.defer(timestamp=0)
        job_id = app.configure_task("executions.run_queued").defer(organization_id=str(editor.organization.id))
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = ANY(%s)",
            [silent, [lost, job_id]],
        )
    other = locked.defer(timestamp=60)
    app.configure_task("everquant.tasks.retry_stalled").defer(timestamp=0)
    start()
    wait_until(lambda: not ProcrastinateJob.objects.filter(id__in=[lost, job_id]).exists(), "one was done, one is gone")
    assert ProcrastinateJob.objects.get(id=other).status == "todo"


def test_workers_are_seen(start, editor):
    assert editor.client.get("/readyz").json()["checks"]["worker"]["ok"] is False
    start()
    start()
    check = editor.client.get("/readyz").json()["checks"]["worker"]
    assert (check["ok"], check["alive"]) == (True, 2)
    assert check["last_heartbeat_s"] < 60


def test_a_periodic_job_is_made_once_however_many_workers_ask(db):
    with connection.cursor() as cursor:
        made = []
        for _ in range(2):
            cursor.execute(
                "SELECT procrastinate_defer_periodic_job_v2('default', NULL, NULL, 'executions.sweep', 0, '', 60, '{}')"
            )
            made.append(cursor.fetchone()[0])
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
    assert made[0] is not None
    assert made[1] is None


def test_executions_are_made_by_several_workers_once_each(start, queue, make_prompt, model, upstream, editor):
    body = {"prompt_id": make_prompt()["id"], "rows": [{"variables": {"name": str(n)}} for n in range(40)]}
    batch = editor.client.post(f"{EXECUTIONS}/batch", body).json()["data"]
    start(concurrency=4)
    start(concurrency=4)
    wait_until(
        lambda: editor.client.get(f"{EXECUTIONS}/batches/{batch['id']}").json()["data"]["finished_at"], "it has ended"
    )
    assert Execution.objects.filter(status=Status.SUCCEEDED).count() == 40
    assert upstream.request_count == 40
