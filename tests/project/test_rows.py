import pytest
from django.utils import timezone

from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload
from apps.prompts.models import Prompt, PromptVersion
from apps.users.models import AuditEntry, User
from everquant.db import uuid7
from everquant.rows import new_row, stored_row


def columns(row):
    return {name: value for name, value in vars(row).items() if name != "_state"}


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (Execution, {"id": 1, "created_at": timezone.now()}),
        (ExecutionAttempt, {"execution_id": 1, "number": 2}),
        (ExecutionPayload, {"execution_id": 1}),
        (Prompt, {"id": 1}),
        (PromptVersion, {"id": 1, "model": None}),
        (AuditEntry, {"id": 1, "timestamp": timezone.now()}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_new_row_is_what_the_model_makes(table, values):
    row, expected = new_row(table, **values), table(**values)
    assert columns(row) == columns(expected)
    assert (row._state.adding, row._state.db, row.pk) == (True, None, expected.pk)


def test_nothing_is_shared_between_rows():
    first, second = new_row(Execution), new_row(Execution)
    first.metadata["seen"] = True
    assert second.metadata == {}
    assert first.id != second.id


def test_an_object_is_given_by_the_name_of_its_relation():
    execution = new_row(Execution)
    payload = new_row(ExecutionPayload, execution=execution)
    assert payload.execution_id == execution.id
    assert payload.execution is execution
    assert execution.payload is payload
    assert new_row(Prompt, created_by=None).created_by_id is None


@pytest.mark.parametrize("name", ["colour", "versions", "labels"])
def test_what_is_no_column_is_refused(name):
    with pytest.raises(TypeError):
        new_row(Prompt, **{name: 1})


@pytest.mark.django_db
def test_a_stored_row_fetches_what_it_was_not_given():
    user = User.objects.create_user(email="row@example.com", password="a password of a row")
    row = stored_row(User, id=user.id, email=user.email, is_active=True)
    assert row == user
    assert row.created_at == user.created_at
    assert not row._state.adding
    with pytest.raises(User.DoesNotExist):
        _ = stored_row(User, id=uuid7()).email
