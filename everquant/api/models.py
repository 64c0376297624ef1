"""Answers kept under an Idempotency-Key, so that a repeated request is answered and not done again."""

from datetime import timedelta
from typing import Self

from django.db import connection, models
from django.utils import timezone

from everquant.db import BaseModel

KEPT_FOR = timedelta(days=1)
# One statement, as it is on the path of every call of a model: a key that has had its day is taken over.
_CLAIM = """
INSERT INTO api_idempotencykey AS kept (id, scope, key, fingerprint, headers, created_at, updated_at)
VALUES (%s, %s, %s, %s, '{}', %s, %s)
ON CONFLICT (scope, key) DO UPDATE SET id = excluded.id, fingerprint = excluded.fingerprint, status = NULL,
    body = NULL, headers = '{}', created_at = excluded.created_at, updated_at = excluded.updated_at
WHERE kept.created_at < %s RETURNING id
"""


class IdempotencyKey(BaseModel):
    """One claimed key. `scope` is who claims (an organization, or an address for the anonymous).

    The row is inserted first, in the transaction of the work: a second request with the key waits on the unique
    constraint until the first has committed or rolled back. The answer is encrypted: it may show a new secret.
    """

    scope = models.CharField(max_length=80)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    headers = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="api_idempotencykey_unique")]
        indexes = [models.Index(fields=["created_at"], name="api_idempotencykey_created")]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"

    @classmethod
    def claim(cls, *, scope: str, key: str, fingerprint: str) -> tuple[Self, bool]:
        """The row of this key, and whether it is new. Waits while another transaction is claiming it."""
        now = timezone.now()
        claimed = cls(scope=scope, key=key, fingerprint=fingerprint, created_at=now, updated_at=now)
        with connection.cursor() as cursor:
            cursor.execute(_CLAIM, [claimed.id, scope, key, fingerprint, now, now, now - KEPT_FOR])
            if cursor.fetchone() is not None:
                claimed._state.adding = False
                return claimed, True
        return cls.objects.get(scope=scope, key=key), False

    @classmethod
    def purge(cls) -> int:
        """Delete what is older than a day; how many."""
        return cls.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()[0]
