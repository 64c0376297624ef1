"""People, their memberships, and what signs in for them."""

from apps.users.models.access import ApiKey, Invitation, Session
from apps.users.models.audit import AuditEntry
from apps.users.models.people import Membership, User

__all__ = ["ApiKey", "AuditEntry", "Invitation", "Membership", "Session", "User"]
