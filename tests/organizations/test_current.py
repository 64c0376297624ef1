"""The caller's organization, and the table of roles."""

import pytest

from apps.organizations.models import Organization
from apps.users.permissions import PERMISSIONS

pytestmark = pytest.mark.django_db

CURRENT = "/api/v1/organizations/current"


def test_every_member_reads_it(admin, viewer, outsider, anonymous):
    body = viewer.client.get(CURRENT).json()["data"]
    assert (body["name"], body["slug"], body["protected_labels"]) == ("Acme", "acme", [])
    assert outsider.client.get(CURRENT).json()["data"]["slug"] == "other"
    assert anonymous.get(CURRENT).status_code == 401


def test_admin_changes_it_under_its_etag(admin, editor):
    etag = admin.client.get(CURRENT).headers["ETag"]
    assert admin.client.get(CURRENT, HTTP_IF_NONE_MATCH=etag).status_code == 304
    body = {"name": "Acme Ltd", "protected_labels": ["production", "production", "staging"]}
    assert editor.client.patch(CURRENT, body).status_code == 403
    changed = admin.client.patch(CURRENT, body, HTTP_IF_MATCH=etag)
    assert changed.status_code == 200
    assert changed.json()["data"]["protected_labels"] == ["production", "staging"]
    assert admin.client.patch(CURRENT, {"name": "Late"}, HTTP_IF_MATCH=etag).status_code == 412
    stored = Organization.objects.get(id=admin.organization.id)
    assert (stored.name, stored.protected_labels) == ("Acme Ltd", ["production", "staging"])
    assert admin.client.patch(CURRENT, {}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"slug": "other"}, "slug"),
        ({"is_active": False}, "is_active"),
        ({"protected_labels": "production"}, "protected_labels"),
        ({"protected_labels": ["Not A Label"]}, "protected_labels.0"),
        ({"protected_labels": ["production\n"]}, "protected_labels.0"),
        ({"protected_labels": [5]}, "protected_labels.0"),
        ({"protected_labels": [f"l{n}" for n in range(51)]}, "protected_labels"),
        ({"plan": "gold"}, "plan"),
    ],
)
def test_bad_changes_are_refused(admin, body, field):
    response = admin.client.patch(CURRENT, body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert Organization.objects.get(id=admin.organization.id).name == "Acme"


def test_roles_are_the_table(viewer, anonymous):
    data = viewer.client.get("/api/v1/roles").json()["data"]
    assert data["permissions"] == list(PERMISSIONS)
    granted = {row["role"]: set(row["permissions"]) for row in data["roles"]}
    assert granted["admin"] == set(PERMISSIONS)
    thirteen = {f"{what}:{do}" for what in ("prompts", "workflows") for do in ("create", "read", "update", "execute")}
    assert thirteen < granted["editor"]
    assert not {"prompts:delete", "workflows:delete", "users:manage", "models:manage", "billing:manage"} & (
        granted["editor"] | granted["viewer"]
    )
    assert {p for p in granted["viewer"] if not p.endswith(":read")} == set()
    assert anonymous.get("/api/v1/roles").status_code == 401


def test_query_counts(viewer, django_assert_num_queries):
    viewer.client.get(CURRENT)
    with django_assert_num_queries(1):
        viewer.client.get(CURRENT)
    with django_assert_num_queries(0):
        viewer.client.get("/api/v1/roles")
