"""Who makes a request, as read from the membership in force."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """`role` and `permissions` are those of now: the membership's, and for an API key only those in its scopes."""

    user_id: UUID
    organization_id: UUID
    email: str
    role: str
    permissions: frozenset[str]
    session_id: UUID | None = None
    api_key_id: UUID | None = None

    @property
    def throttle_key(self) -> str:
        return str(self.api_key_id or self.user_id)

    def can(self, permission: str) -> bool:
        return permission in self.permissions
