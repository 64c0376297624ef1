"""When a batch has ended: it is found by whoever ended its last execution, and by the sweeper."""

import threading
from collections import OrderedDict
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.executions.models import Batch, Execution
from apps.organizations.webhooks import emit

_FINISH = """
UPDATE executions_batch SET finished_at = %s
WHERE id = %s AND finished_at IS NULL AND row_count <= (
    SELECT coalesce(sum(succeeded + failed + cancelled), 0) FROM executions_batchcount WHERE batch_id = %s
)
"""
_REMEMBERED = 1000


class _Countdowns:
    """After how many more ends in this process a batch is looked at: an eighth of those that it still had."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: OrderedDict[UUID, int] = OrderedDict()

    def is_due(self, batch_id: UUID) -> bool:
        with self._lock:
            left = self._left.pop(batch_id, 0)
            self._left[batch_id] = left - 1
            while len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
            return left <= 0

    def set(self, batch_id: UUID, remaining: int) -> None:
        with self._lock:
            self._left[batch_id] = remaining // 8


_countdowns = _Countdowns()


def note_end(execution: Execution) -> None:
    """That an execution has ended, and this is committed."""
    if execution.batch_id is None or not _countdowns.is_due(execution.batch_id):
        return
    if not finish_if_done(execution.batch_id):
        _countdowns.set(execution.batch_id, remaining(execution.batch_id))


def finish_if_done(batch_id: UUID) -> bool:
    """Whether it was this call that found its last execution ended; that is told of."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_FINISH, [timezone.now(), batch_id, batch_id])
            if not cursor.rowcount:
                return False
        batch = Batch.objects.with_counts().get(id=batch_id)
        emit(organization_id=batch.organization_id, event="batch.completed", data=batch.summary())
    return True


def remaining(batch_id: UUID) -> int:
    batch = Batch.objects.with_counts().filter(id=batch_id).first()
    return batch.remaining if batch else 0
