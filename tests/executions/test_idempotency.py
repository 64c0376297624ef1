"""One key, one execution: repeated, at once, with another request, and after a crash."""

import threading
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from apps.executions.models import INTERRUPTED, Execution, Status
from apps.executions.sweeping import fail_interrupted
from everquant.api.models import IdempotencyKey
from tests.executions.conftest import PROMPTS
from tests.project.processes import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
BODY = {"variables": {"name": "Ada"}}


@pytest.fixture
def post(editor):
    def send(prompt, key, client=None, **body):
        headers = {"Idempotency-Key": key}
        return (client or editor.client).post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, **body}, headers=headers)

    return send


def test_the_same_request_gets_the_stored_result(post, prompt, upstream):
    first, again = post(prompt, "k-1"), post(prompt, "k-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (upstream.request_count, Execution.objects.count()) == (1, 1)


def test_another_request_under_the_key_is_a_409(post, prompt, upstream):
    post(prompt, "k-1")
    response = post(prompt, "k-1", variables={"name": "Grace"})
    assert response.status_code == 409
    assert "Idempotency-Key" in response.json()["error"]["details"]
    assert upstream.request_count == 1


def test_the_key_is_the_organizations(post, prompt, make_prompt, make_model, outsider, upstream):
    make_model(of=outsider.organization, is_default=True)
    foreign = make_prompt(outsider)
    assert post(prompt, "k-1").status_code == 200
    assert post(foreign, "k-1", client=outsider.client).status_code == 200
    assert upstream.request_count == 2


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\N{SNOWMAN}"])
def test_keys_that_are_no_keys_are_a_400(post, prompt, key):
    response = post(prompt, key)
    assert response.status_code == 400
    assert list(response.json()["error"]["details"]) == ["Idempotency-Key"]


def test_a_refused_request_keeps_no_key(post, prompt):
    assert post(prompt, "k-1", variables={}).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert post(prompt, "k-1").status_code == 200


def test_a_failed_call_is_a_stored_result_too(post, make_prompt, make_model, upstream):
    make_model("fault-400", is_default=True)
    prompt = make_prompt()
    first, again = post(prompt, "k-1"), post(prompt, "k-1")
    assert (first.status_code, again.status_code) == (502, 502)
    ids = {response.json()["error"]["details"]["execution_id"] for response in (first, again)}
    assert len(ids) == upstream.request_count == 1


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_make_one_execution(post, make_prompt, make_model, upstream, editor):
    upstream.answer_always(Behaviour(delay_s=0.3))
    make_model(is_default=True)
    prompt = make_prompt()
    answers, start = [], threading.Barrier(50)

    def call():
        client = type(editor.client)(**editor.client.defaults)
        start.wait(10)
        response = post(prompt, "k-1", client)
        answers.append((response.status_code, response.json()["data"]["id"], response.json()["data"]["output"]))

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 50
    assert set(answers) == {(200, answers[0][1], "You said: Hello, Ada!")}
    assert (upstream.request_count, Execution.objects.count()) == (1, 1)


@pytest.fixture
def crashed(post, prompt, upstream):
    """An execution whose process was killed before it had recorded the answer: its key, and its lease still good."""
    assert post(prompt, "k-1").status_code == 200
    Execution.objects.update(
        status=Status.RUNNING, finished_at=None, lease_expires_at=timezone.now() + timedelta(seconds=60)
    )
    return Execution.objects.get()


def test_after_a_crash_the_key_answers_once_the_lease_is_over(crashed, post, prompt, upstream):
    Execution.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    response = post(prompt, "k-1")
    assert response.status_code == 503
    details = response.json()["error"]["details"]
    assert details == {"execution_id": str(crashed.id), "provider_code": INTERRUPTED}
    assert upstream.request_count == 1
    assert post(prompt, "k-2").status_code == 200


def test_one_that_runs_longer_than_the_wait_is_a_409_with_its_place(crashed, post, prompt, settings):
    settings.WRITE_TIMEOUT = 0.1
    response = post(prompt, "k-1")
    assert response.status_code == 409
    assert response.headers["Location"] == f"/api/v1/executions/{crashed.id}"
    assert response.json()["error"]["details"]["execution_id"] == str(crashed.id)


def test_the_sweeper_fails_what_outlived_its_lease_and_nothing_else(execute, prompt, make_prompt):
    ids = [UUID(execute(prompt)["id"]) for _ in range(3)]
    dead, alive, done = ids
    now = timezone.now()
    for id_, lease in ((dead, now - timedelta(seconds=1)), (alive, now + timedelta(seconds=60))):
        Execution.objects.filter(id=id_).update(status=Status.RUNNING, finished_at=None, lease_expires_at=lease)
    assert fail_interrupted() == 1
    assert fail_interrupted() == 0
    assert dict(Execution.objects.values_list("id", "status")) == {
        dead: Status.FAILED,
        alive: Status.RUNNING,
        done: Status.SUCCEEDED,
    }
    row = Execution.objects.get(id=dead)
    assert (row.error_code, row.finished_at is not None) == (INTERRUPTED, True)


@pytest.mark.django_db(transaction=True)
def test_a_late_answer_does_not_change_what_the_sweeper_ended(make_prompt, make_model, upstream, post):
    """The call is in flight while its row is failed: the terminal state is written once."""
    upstream.answer_always(Behaviour(delay_s=1.5))
    make_model(is_default=True)
    prompt = make_prompt()
    responses = []
    thread = threading.Thread(target=lambda: responses.append(post(prompt, str(uuid4()))))
    thread.start()
    upstream.wait_for(lambda server: server.request_count == 1)

    def sweep_after_lease():
        """Between the two its process may just have renewed the lease."""
        Execution.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        return fail_interrupted()

    wait_until(sweep_after_lease, "it is swept up", timeout_s=1)
    thread.join(10)
    assert responses[0].status_code == 503
    row = Execution.objects.select_related("payload").get()
    assert (row.error_code, row.payload.output, row.attempts.count()) == (INTERRUPTED, None, 0)
