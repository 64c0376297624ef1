"""Executions that a worker makes: asked for with `mode: async`, polled, retried, and what happens without a worker."""

from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from apps.executions.keys import id_bound
from apps.executions.models import Execution, ExecutionPayload, Status
from apps.executions.orchestrator import background, queueing
from apps.executions.sweeping import call_missing_runners, fail_expired
from everquant.db import uuid7
from everquant.workers import capacity, set_capacity
from tests.databases import database_url
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ask(editor):
    """POST an execution that a worker is to make; the answer."""

    def post(prompt, *, headers=None, **body):
        body = {"variables": {"name": "Ada"}, "mode": "async", **body}
        return editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body, headers=headers)

    return post


@pytest.fixture
def read(editor):
    return lambda execution_id: editor.client.get(f"{EXECUTIONS}/{execution_id}").json()["data"]


def test_it_is_queued_then_made_by_a_worker_and_can_be_read_at_its_location(ask, prompt, editor, upstream, run_jobs):
    answer = ask(prompt, metadata={"run": 7}, unit_id="u-1")
    assert answer.status_code == 202
    queued = answer.json()["data"]
    assert (queued["status"], queued["is_background"], queued["output"]) == ("queued", True, None)
    assert answer.headers["Location"] == f"{EXECUTIONS}/{queued['id']}"
    assert upstream.request_count == 0

    assert run_jobs() == ["run_queued"]
    done = editor.client.get(answer.headers["Location"]).json()["data"]
    assert (done["status"], done["output"], done["metadata"]) == ("succeeded", "You said: Hello, Ada!", {"run": 7})
    assert (done["attempt_count"], len(done["attempts"]), done["messages"]) == (1, 1, queued["messages"])
    assert float(done["cost_usd"]) > 0
    assert done["queue_ms"] >= 0
    assert done["started_at"] >= done["created_at"]


def test_the_execution_and_its_job_are_stored_together_or_not_at_all(ask, prompt, make_prompt, run_jobs):
    assert ask(prompt, variables={}).status_code == 400
    assert ask(prompt, model_id=str(uuid7())).status_code == 400
    assert not Execution.objects.exists()
    assert run_jobs() == []


def test_equal_keys_make_one_execution(ask, prompt, upstream, run_jobs):
    first = ask(prompt, headers={"Idempotency-Key": "k-1"})
    again = ask(prompt, headers={"Idempotency-Key": "k-1"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    run_jobs()
    later = ask(prompt, headers={"Idempotency-Key": "k-1"})
    assert later.json()["data"]["status"] == "succeeded"
    assert upstream.request_count == 1
    assert ask(prompt, variables={"name": "Bob"}, headers={"Idempotency-Key": "k-1"}).status_code == 409


def test_a_job_that_runs_again_does_nothing(ask, prompt, upstream, organization, run_jobs):
    ask(prompt)
    assert background.run_queued(organization.id) == 1
    assert background.run_queued(organization.id) == 0
    run_jobs()
    assert upstream.request_count == 1


def test_failures_are_recorded_and_fallbacks_are_tried(ask, read, make_model, make_prompt, run_jobs):
    spare = make_model("gpt-5-nano")
    broken = make_model("fault-400")
    down = make_model("fault-500", is_default=True)
    stand_in(down, spare)
    refused = ask(make_prompt(), model_id=str(broken.id)).json()["data"]
    saved = ask(make_prompt()).json()["data"]
    run_jobs()
    assert read(refused["id"])["error"]["code"] == "INVALID_REQUEST"
    done = read(saved["id"])
    assert (done["status"], done["model_id"]) == ("succeeded", str(spare.id))


def test_a_model_that_is_gone_by_then(ask, read, prompt, model, upstream, run_jobs):
    queued = ask(prompt).json()["data"]
    model.is_active = False
    model.save()
    run_jobs()
    done = read(queued["id"])
    assert (done["status"], done["error"]["code"]) == ("failed", background.NOT_CALLABLE)
    assert upstream.request_count == 0


def test_what_has_failed_is_retried_as_a_new_execution(ask, read, editor, make_model, make_prompt, upstream, run_jobs):
    make_model(is_default=True)
    upstream.script([Behaviour(status=400)])
    failed = ask(make_prompt(), metadata={"a": 1}).json()["data"]
    assert editor.client.post(f"{EXECUTIONS}/{failed['id']}/retry").status_code == 409
    run_jobs()
    assert read(failed["id"])["status"] == "failed"

    answer = editor.client.post(f"{EXECUTIONS}/{failed['id']}/retry", headers={"Idempotency-Key": "again"})
    assert answer.status_code == 202, answer.content
    again = answer.json()["data"]
    assert (again["retry_of_id"], again["status"], again["metadata"]) == (failed["id"], "queued", {"a": 1})
    replayed = editor.client.post(f"{EXECUTIONS}/{failed['id']}/retry", headers={"Idempotency-Key": "again"})
    assert replayed.json()["data"]["id"] == again["id"]
    run_jobs()
    assert read(again["id"])["status"] == "succeeded"
    assert read(failed["id"])["status"] == "failed"
    assert Execution.objects.count() == 2


def test_queued_executions_without_a_job_get_one(ask, prompt, read, run_jobs, organization, settings):
    settings.QUEUE_RUNNERS = 3
    queued = ask(prompt).json()["data"]
    assert call_missing_runners() == 2
    assert call_missing_runners() == 0
    run_jobs()
    assert read(queued["id"])["status"] == "succeeded"
    assert call_missing_runners() == 0


def test_what_no_worker_came_to_is_failed_after_a_week(ask, prompt, organization):
    ask(prompt)
    long_ago = timezone.now() - queueing.WAITS_AT_MOST - timedelta(hours=1)
    Execution.objects.create(id=id_bound(long_ago), organization_id=organization.id, created_at=long_ago)
    assert fail_expired() == 1
    assert Execution.objects.filter(status=Status.FAILED, error_code="EXPIRED").count() == 1


class TestTurns:
    @pytest.fixture(autouse=True)
    def _room(self):
        before = capacity()
        set_capacity(10)
        yield
        set_capacity(before)

    def test_an_eighth_is_left_for_others_than_the_busiest(self, organization, outsider):
        """Of ten jobs nine run executions, and eight of them one organization's."""
        for number in range(9):
            self.queue(organization, number)
        turns = queueing.Turns()
        assert [turns.take() is not None for _ in range(9)] == [True] * 8 + [False]
        self.queue(outsider.organization, 0)
        turns.announce(outsider.organization.id)
        assert turns.take().organization_id == outsider.organization.id
        turns.leave(organization.id)
        assert turns.take().organization_id == organization.id

    def test_organizations_with_fewer_running_calls_go_first(self, ask, prompt, organization, outsider):
        for number in range(3):
            self.queue(organization, number)
        self.queue(outsider.organization, 0)
        turns = queueing.Turns()
        taken = [turns.take() for _ in range(5)]
        assert taken[4] is None
        order = [execution.organization_id == organization.id for execution in taken[:4]]
        assert order in ([True, False, True, True], [False, True, True, True])

    def test_single_ones_go_before_batches_and_batches_row_by_row(self, organization):
        first, second = uuid7(), uuid7()
        rows = [
            self.queue(organization, 0, first),
            self.queue(organization, 1, first),
            self.queue(organization, 0, second),
            self.queue(organization, None),
        ]
        turns = queueing.Turns()
        taken = [turns.take().id for _ in rows]
        assert taken == [rows[3].id, rows[0].id, rows[2].id, rows[1].id]

    def test_what_is_announced_while_a_take_finds_nothing_is_not_forgotten(self, organization, monkeypatch):
        """Its snapshot may be older than what is announced; who announced it must find it."""
        turns, take = queueing.Turns(), queueing._take
        turns.announce(organization.id)
        monkeypatch.setattr(queueing, "waiting_organizations", list)

        def before_it_is_stored(organization_id):
            monkeypatch.setattr(queueing, "_take", take)
            found = take(organization_id)
            self.queue(organization, 0)
            turns.announce(organization_id)
            return found

        monkeypatch.setattr(queueing, "_take", before_it_is_stored)
        assert turns.take() is not None

    def test_what_another_let_go_of_is_taken(self, organization, monkeypatch):
        execution, take = self.queue(organization, 0), queueing._take
        turns = queueing.Turns()

        def while_another_has_it(organization_id):
            monkeypatch.setattr(queueing, "_take", take)
            with psycopg.connect(database_url()) as other:
                other.execute("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", [execution.id])
                return take(organization_id)

        monkeypatch.setattr(queueing, "_take", while_another_has_it)
        assert turns.take().id == execution.id
        assert turns.take() is None

    def queue(self, organization, row, batch_id=None):
        key = uuid7()
        execution = Execution.objects.create(
            id=key,
            organization_id=organization.id,
            is_background=True,
            batch_id=batch_id,
            batch_row=row,
            created_at=timezone.now(),
        )
        ExecutionPayload.objects.create(execution=execution, messages=[])
        return execution
