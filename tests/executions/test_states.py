"""Only forward but for one step, each end once; and what the database itself refuses."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models.fields import PositiveIntegerRelDbTypeMixin
from django.utils import timezone

from apps.executions.models import TERMINAL, TRANSITIONS, Execution, ExecutionAttempt, ExecutionPayload, Status
from apps.executions.orchestrator import recording
from everquant.db import uuid7

pytestmark = pytest.mark.django_db


def stored(organization, status, **values) -> Execution:
    now = timezone.now()
    defaults = {
        "started_at": None if status == Status.QUEUED else now,
        "finished_at": now if status in TERMINAL else None,
        "lease_expires_at": now if status == Status.RUNNING else None,
        "error_code": "TIMEOUT_TOTAL" if status == Status.FAILED else "",
    }
    return Execution.objects.create(
        id=uuid7(), organization_id=organization.id, status=status, created_at=now, **{**defaults, **values}
    )


def numbers(model) -> list[str]:
    return [field.name for field in model._meta.fields if isinstance(field, PositiveIntegerRelDbTypeMixin)]


MOVES = {
    Status.QUEUED: lambda execution: execution.hand_back(attempt_count=0),
    Status.RUNNING: lambda execution: execution.start(lease_expires_at=timezone.now()),
    Status.FAILED: lambda execution: execution.fail(code="INTERRUPTED", message="It ended."),
    Status.CANCELLED: lambda execution: execution.cancel(),
}


@pytest.mark.parametrize("target", MOVES)
@pytest.mark.parametrize("source", Status)
def test_moves(organization, source, target):
    execution = stored(organization, source)
    allowed = target in TRANSITIONS.get(source, ())
    assert MOVES[target](execution) is allowed
    execution.refresh_from_db()
    assert execution.status == (target if allowed else source)


def test_of_two_ends_one_is_written(organization):
    execution = stored(organization, Status.RUNNING)
    other = Execution.objects.get(id=execution.id)
    assert execution.cancel()
    assert not other.fail(code="INTERRUPTED", message="")
    other.refresh_from_db()
    assert (other.status, other.error_code) == (Status.CANCELLED, "")


@pytest.mark.parametrize("meanwhile", ["cancelled", "taken by another process"])
def test_an_answer_that_comes_too_late_is_not_written(organization, meanwhile):
    execution = stored(organization, Status.RUNNING)
    payload = ExecutionPayload.objects.create(execution_id=execution.id, messages=[])
    other = Execution.objects.get(id=execution.id)
    if meanwhile == "cancelled":
        assert other.cancel()
    else:
        Execution.objects.filter(id=other.id).update(started_at=timezone.now())
        other.refresh_from_db()
    execution.status, execution.finished_at, payload.output = Status.SUCCEEDED, timezone.now(), "Too late"
    attempt = ExecutionAttempt(
        execution_id=execution.id, number=1, model_id=uuid7(), provider_id=uuid7(), started_at=timezone.now()
    )
    assert not recording.finish(execution, payload, [attempt])
    execution.refresh_from_db()
    payload.refresh_from_db()
    assert (execution.status, execution.finished_at) == (other.status, other.finished_at)
    assert (payload.output, ExecutionAttempt.objects.count()) == (None, 0)


def test_what_is_to_be_cancelled_is_not_handed_back(organization):
    execution = stored(organization, Status.RUNNING, cancel_requested_at=timezone.now())
    assert not execution.hand_back(attempt_count=1)
    execution.refresh_from_db()
    assert (execution.status, execution.attempt_count) == (Status.RUNNING, 0)


@pytest.mark.parametrize(
    ("status", "values", "constraint"),
    [
        ("paused", {}, "status_known"),
        (Status.QUEUED, {"source": "dream"}, "source_known"),
        (Status.SUCCEEDED, {"finished_at": None}, "end_has_time"),
        (Status.RUNNING, {"finished_at": timezone.now()}, "end_has_time"),
        (Status.FAILED, {"error_code": ""}, "failure_has_code"),
        (Status.SUCCEEDED, {"error_code": "X"}, "failure_has_code"),
        (Status.RUNNING, {"lease_expires_at": None}, "running_has_lease"),
        (Status.SUCCEEDED, {"cost_usd": 1}, "cost_has_price"),
        (Status.SUCCEEDED, {"cost_usd": -1, "price": {}}, "cost_has_price"),
        *((Status.QUEUED, {name: -1}, "not_negative") for name in numbers(Execution)),
    ],
)
def test_the_database_refuses(organization, status, values, constraint):
    with pytest.raises(IntegrityError, match=f"executions_execution_{constraint}"), transaction.atomic():
        stored(organization, status, **values)


@pytest.mark.parametrize("name", numbers(ExecutionAttempt))
def test_the_database_refuses_negative_numbers_of_a_try(organization, name):
    execution = stored(organization, Status.RUNNING)
    values = {"number": 1, "latency_ms": 1, name: -1}
    with pytest.raises(IntegrityError, match="executions_executionattempt_not_negative"), transaction.atomic():
        ExecutionAttempt.objects.create(
            execution_id=execution.id, model_id=uuid7(), provider_id=uuid7(), started_at=timezone.now(), **values
        )


@pytest.mark.parametrize("status", Status)
def test_the_database_takes_numbers_that_are_not_known(organization, status):
    assert stored(organization, status, input_tokens=None, output_tokens=0).status == status
