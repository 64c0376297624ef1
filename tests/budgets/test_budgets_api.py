"""Budgets over HTTP: what is stored and shown, what is refused, and who sees them."""

from decimal import Decimal

import pytest

from apps.executions.models import Budget, BudgetSpend
from apps.users.models import ApiKey, AuditEntry
from tests.budgets.conftest import BUDGETS

# Names of tests must be the same in every process.
NOBODY = "0195f000-0000-7000-8000-00000000dead"
pytestmark = pytest.mark.django_db
WISH = {"name": "All", "scope": "organization", "period": "month", "limit_usd": "12.5"}


def test_a_budget_is_stored_shown_and_audited(admin, make_budget):
    made = make_budget("12.5", alert_at=[1, 0.5, 0.5])
    assert (made["limit_usd"], made["is_hard"], made["alert_at"]) == ("12.500000", True, [0.5, 1.0])
    assert made["scope_id"] is None
    current = made["current"]
    assert (Decimal(current["spent_usd"]), Decimal(current["remaining_usd"])) == (0, Decimal("12.5"))
    assert current["period_start"].endswith("-01")
    answer = admin.client.get(f"{BUDGETS}/{made['id']}")
    assert answer.json()["data"] == made
    assert admin.client.get(BUDGETS).json()["data"] == [made]
    entry = AuditEntry.objects.filter(object_pk=made["id"]).get()
    assert str(entry.organization_id) == str(admin.organization.id)


def test_change_and_delete(admin, make_budget):
    made = make_budget()
    path = f"{BUDGETS}/{made['id']}"
    etag = admin.client.get(path).headers["ETag"]
    assert admin.client.patch(path, {"limit_usd": "2"}, headers={"If-Match": '"00"'}).status_code == 412
    changed = admin.client.patch(path, {"limit_usd": "2"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["data"]["limit_usd"]) == (200, "2.000000")
    put = admin.client.put(path, {"name": "New", "limit_usd": "3", "is_hard": False, "alert_at": []})
    data = put.json()["data"]
    assert (data["name"], data["is_hard"], data["alert_at"]) == ("New", False, [])
    assert admin.client.delete(path).status_code == 204
    assert not Budget.objects.exists()
    assert not BudgetSpend.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"limit_usd": "0"}, "limit_usd"),
        ({"limit_usd": "0.000000"}, "limit_usd"),
        ({"limit_usd": "-1"}, "limit_usd"),
        ({"limit_usd": 1}, "limit_usd"),
        ({"limit_usd": "1e3"}, "limit_usd"),
        ({"limit_usd": "1" * 10}, "limit_usd"),
        ({"limit_usd": "0.0000001"}, "limit_usd"),
        ({"limit_usd": None}, "limit_usd"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"scope": "team"}, "scope"),
        ({"scope": ["user"]}, "scope"),
        ({"scope": "user"}, "scope_id"),
        ({"scope": "user", "scope_id": NOBODY}, "scope_id"),
        ({"scope": "api_key", "scope_id": NOBODY}, "scope_id"),
        ({"scope": "prompt", "scope_id": NOBODY}, "scope_id"),
        ({"scope": "prompt", "scope_id": 3}, "scope_id"),
        ({"scope_id": NOBODY}, "scope_id"),
        ({"period": "week"}, "period"),
        ({"alert_at": [0]}, "alert_at.0"),
        ({"alert_at": [1.01]}, "alert_at.0"),
        ({"alert_at": ["0.5"]}, "alert_at.0"),
        ({"alert_at": [True]}, "alert_at.0"),
        ({"alert_at": [0.5] * 11}, "alert_at"),
        ({"alert_at": 0.5}, "alert_at"),
        ({"is_hard": "yes"}, "is_hard"),
        ({"is_active": 1}, "is_active"),
        ({"spent_usd": "1"}, "spent_usd"),
    ],
    ids=str,
)
def test_refused(make_budget, admin, change, field):
    answer = admin.client.post(BUDGETS, {**WISH, **change})
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == [field]
    assert not Budget.objects.exists()


def test_what_a_budget_is_for_cannot_be_changed(admin, make_budget):
    path = f"{BUDGETS}/{make_budget()['id']}"
    for change in ({"scope": "user"}, {"scope_id": None}, {"period": "day"}):
        answer = admin.client.patch(path, change)
        assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, list(change))


def test_one_budget_of_a_kind(admin, editor, make_budget):
    make_budget()
    make_budget(period="day")
    soft = make_budget(is_hard=False)
    error = make_budget(status=409)
    assert list(error["details"]) == ["scope"]
    assert admin.client.patch(f"{BUDGETS}/{soft['id']}", {"is_hard": True}).status_code == 409
    make_budget(scope="user", scope_id=str(editor.user.id))
    assert make_budget(scope="user", scope_id=str(editor.user.id), status=409)["code"] == "CONFLICT"
    assert Budget.objects.count() == 4


def test_another_organizations_objects_read_as_unknown(admin, outsider, make_budget, make_prompt, model):
    key = ApiKey(organization=admin.organization, user=admin.user, name="k", scopes=[])
    key.give_secret()
    key.save()
    theirs = [("user", admin.user.id), ("api_key", key.id), ("prompt", make_prompt()["id"])]
    for scope, scope_id in theirs:
        make_budget(scope=scope, scope_id=str(scope_id))
        answer = outsider.client.post(BUDGETS, {**WISH, "scope": scope, "scope_id": str(scope_id)})
        assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["scope_id"])
    path = f"{BUDGETS}/{Budget.objects.first().id}"
    for send in (outsider.client.get, outsider.client.delete, outsider.client.patch, outsider.client.put):
        assert send(path, {} if send in {outsider.client.patch, outsider.client.put} else None).status_code == 404
    assert outsider.client.get(BUDGETS).json()["data"] == []


def test_filters(admin, editor, make_budget):
    make_budget(name="A")
    make_budget(name="B", scope="user", scope_id=str(editor.user.id), period="day", is_hard=False, is_active=False)

    def found(query):
        return [budget["name"] for budget in admin.client.get(f"{BUDGETS}?{query}").json()["data"]]

    assert found("scope=user") == found("period=day") == found("is_hard=false") == found("is_active=false") == ["B"]
    assert found(f"scope_id={editor.user.id}") == found("search=b") == ["B"]
    assert found("ordering=-name") == ["B", "A"]
    assert admin.client.get(f"{BUDGETS}?scope=team").status_code == 400


def test_only_with_billing_manage(editor, viewer, anonymous):
    assert editor.client.get(BUDGETS).status_code == 403
    assert viewer.client.post(BUDGETS, WISH).status_code == 403
    assert anonymous.get(BUDGETS).status_code == 401
