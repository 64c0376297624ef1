"""Roles and permissions: this table is the whole truth. `GET /roles` shows it."""

from typing import Any

from django.db.models import TextChoices
from rest_framework.permissions import BasePermission


class Role(TextChoices):
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


# permission → the roles below admin that have it; admin has all
_A: tuple[Role, ...] = ()
_E = (Role.EDITOR,)
_V = (Role.EDITOR, Role.VIEWER)

PERMISSIONS: dict[str, tuple[Role, ...]] = {
    # the thirteen of the design
    "prompts:create": _E,
    "prompts:read": _V,
    "prompts:update": _E,
    "prompts:delete": _A,
    "prompts:execute": _E,
    "workflows:create": _E,
    "workflows:read": _V,
    "workflows:update": _E,
    "workflows:delete": _A,
    "workflows:execute": _E,
    "users:manage": _A,
    "models:manage": _A,
    "billing:manage": _A,
    # what the design leaves open, in the same form
    "prompts:protect": _A,
    "workflows:protect": _A,
    "executions:read": _V,
    "executions:score": _E,
    "evaluations:create": _E,
    "evaluations:read": _V,
    "evaluations:update": _E,
    "evaluations:delete": _A,
    "evaluations:execute": _E,
    "datasets:create": _E,
    "datasets:read": _V,
    "datasets:update": _E,
    "datasets:delete": _A,
    "abtests:create": _E,
    "abtests:read": _V,
    "abtests:update": _E,
    "abtests:delete": _A,
    "abtests:execute": _E,
    "analytics:read": _V,
    "audit:read": _A,
    "apikeys:manage": _E,
    "webhooks:manage": _A,
    "organization:manage": _A,
}


ROLE_PERMISSIONS: dict[str, frozenset[str]] = {
    role: frozenset(p for p, roles in PERMISSIONS.items() if role == Role.ADMIN or role in roles) for role in Role
}

AUTHENTICATED = "authenticated"
PERSON = "person"  # signed in; not an API key
PUBLIC = "public"


class HasPermission(BasePermission):
    """The permission that the view names for its action; without a name there is no access."""

    def has_permission(self, request: Any, view: Any) -> bool:
        if view.action is None:
            return request.auth is not None or PUBLIC in view.permissions.values()
        needed = view.permissions.get(view.action)
        if needed == PUBLIC:
            return True
        if request.auth is None or needed is None:
            return False
        if needed == PERSON:
            return request.auth.session_id is not None
        return needed == AUTHENTICATED or needed in request.auth.permissions
