"""What a caller may hand on: never more than they have themselves."""

from collections.abc import Iterable

from apps.users.permissions import ROLE_PERMISSIONS
from apps.users.principal import Principal
from everquant.api.errors import Forbidden


def require_can_grant(actor: Principal, permissions: Iterable[str], field: str) -> None:
    """Raises Forbidden naming the field. An API key has only its scopes, so it can make nobody mightier than it is."""
    missing = sorted(set(permissions) - actor.permissions)
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise Forbidden(f"You cannot give what you do not have: {shown}.", details={field: f"Beyond yours: {shown}."})


def require_can_grant_role(actor: Principal, role: str) -> None:
    require_can_grant(actor, ROLE_PERMISSIONS[role], "role")
