"""New rows that are stored in one statement leave what `save` and auditlog leave of them."""

import json
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.executions.models import Budget
from apps.organizations.models import Organization
from apps.prompts.models import Prompt, PromptLabel, PromptVersion
from apps.users.models import AuditEntry, User
from apps.users.principal import Principal
from apps.users.storing import changes_of_new, store_new
from everquant.context import RequestContext, request_context
from everquant.db import uuid7

pytestmark = pytest.mark.django_db

OWN = {"id", "timestamp", "object_pk", "object_repr"}


def unsaved(cast: Any, slug: str, **fields: Any) -> tuple[Prompt, PromptVersion]:
    shared = {"organization_id": cast.organization.id, "created_by_id": cast.user.id}
    prompt = Prompt(slug=slug, name="N", description="Ünïcode \"'", type="text", tags=["a", "b,c"], **shared)
    said = {"content": "Hello, {{name}}!", "parameters": {"z": 1, "a": 0.1}, "variables": [{"name": "name"}], **fields}
    version = PromptVersion(prompt=prompt, version_number=1, **said, **shared)
    prompt.current_version = version
    return prompt, version


def columns(row: Any, *, without: set[str]) -> dict[str, Any]:
    return {
        name: value for name, value in type(row).objects.filter(pk=row.pk).values()[0].items() if name not in without
    }


def entry_of(row: Any) -> AuditEntry:
    return AuditEntry.objects.get(object_pk=str(row.pk))


@pytest.fixture
def _request_of_admin(admin):
    user = admin.user
    principal = Principal(user.id, admin.organization.id, user.email, "admin", frozenset(), api_key_id=uuid7())
    with request_context(RequestContext("req-1", "203.0.113.9", principal)):
        yield


@pytest.mark.usefixtures("_request_of_admin")
def test_rows_and_entry_are_those_of_save(admin):
    ordinary, stored = unsaved(admin, "ordinary"), unsaved(admin, "stored")
    for row in ordinary:
        row.save(force_insert=True)
    store_new(*stored)
    dated = {"created_at", "updated_at"}
    for row, other in zip(ordinary, stored, strict=True):
        without = {"id", "slug", "prompt_id", "current_version_id", *dated}
        assert columns(row, without=without) == columns(other, without=without)
        assert type(row).objects.get(pk=other.pk).created_at == other.created_at == other.updated_at
    one, other = entry_of(ordinary[0]), entry_of(stored[0])
    changing = {"id", "slug", "created_at", "current_version"}
    assert set(one.changes) == set(other.changes)
    same = set(one.changes) - changing
    assert {name: one.changes[name] for name in same} == {name: other.changes[name] for name in same}
    assert columns(one, without={*OWN, "changes"}) == columns(other, without={*OWN, "changes"})
    assert other.object_repr == "stored"
    assert other.changes["id"] == [None, str(stored[0].id)]
    assert other.changes["current_version"] == [None, str(stored[1].id)]
    assert other.changes["created_at"][1] == f"{stored[0].created_at:%Y-%m-%d %H:%M:%S.%f}"
    assert not AuditEntry.objects.filter(object_pk=str(stored[1].pk)).exists()  # auditlog does not look at versions


def test_changes_are_those_of_auditlog(admin):
    prompt, version = unsaved(admin, "one")
    prompt.save(force_insert=True)
    version.save(force_insert=True)
    label = PromptLabel.objects.create(organization=admin.organization, prompt=prompt, name="a", version=version)
    organization = Organization.objects.create(name="N", slug="n", protected_labels=["a"])
    budget = Budget.objects.create(
        organization=organization, name="B", scope="organization", period="day", limit_usd=Decimal("1.5")
    )
    for row in (prompt, label, organization, budget):
        written = entry_of(row).changes
        made = json.dumps(changes_of_new(row), cls=DjangoJSONEncoder)
        assert json.loads(made) == written


def test_what_is_masked_is_not_written_here():
    with pytest.raises(TypeError):
        changes_of_new(User(email="a@b.example", password="secret"))


def test_one_statement_stores_all(admin):
    rows = unsaved(admin, "one")
    changes_of_new(rows[0])
    with CaptureQueriesContext(connection) as queries:
        store_new(*rows)
    assert len(queries) == 3  # a savepoint, the statement, the savepoint's end
    assert all(not row._state.adding for row in rows)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("around", [nullcontext, transaction.atomic], ids=["alone", "in a transaction"])
def test_refusal_stores_nothing_and_leaves_the_transaction(admin, around):
    store_new(*unsaved(admin, "taken"))
    prompt, version = unsaved(admin, "taken")
    with around():
        with pytest.raises(IntegrityError):
            store_new(prompt, version)
        assert Prompt.objects.count() == PromptVersion.objects.count() == 1
    assert not AuditEntry.objects.filter(object_pk=str(prompt.pk)).exists()
    assert prompt._state.adding


@pytest.mark.django_db(transaction=True)
def test_missing_reference_stores_nothing(admin):
    prompt, version = unsaved(admin, "lost")
    version.prompt_id = uuid7()
    with pytest.raises(IntegrityError):
        store_new(prompt, version)
    assert Prompt.objects.count() == PromptVersion.objects.count() == 0
