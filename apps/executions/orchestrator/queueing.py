"""Queued executions: the rows are the queue, and runners (jobs) empty it, so that ten thousand rows are a few jobs.

Whoever stores queued executions calls runners in the same transaction. A runner takes one execution after the other
until none is left, or its time is over and a successor goes on; so jobs of other kinds get their turn.

Who goes next is decided for every single execution. The organization with the fewest calls running in this process is
first, of equals the one that has waited longest; an eighth of the runners is left for others than the busiest, whose
calls may all be waiting for a limit. Within an organization those asked for singly go first, then
batches row by row: the first rows of all its batches before the second ones.
"""

import threading
import time
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.types import JSONDict

from apps.executions.keys import id_bound
from apps.executions.models import Execution, ExecutionPayload
from apps.executions.orchestrator.leases import lease_end
from everquant.db import prepared_cursor
from everquant.workers import capacity

TASK = "executions.run_queued"
QUEUE = "executions"
LOOK_AGAIN_S = 0.5
# What has waited longer is failed by the sweeper; so only the newest partitions are looked at.
WAITS_AT_MOST = timedelta(days=7)
_MARGIN = timedelta(hours=1)

_FIELDS = Execution._meta.concrete_fields
_COLUMNS = [field.attname for field in _FIELDS]
_CONVERTERS: list[tuple[int, Any]] = [
    (place, field.from_db_value) for place, field in enumerate(_FIELDS) if hasattr(field, "from_db_value")
]
_PAYLOAD = ("variables", "messages", "parameters", "tools", "response_schema", "cache_ttl_s")
# A key is compared with a value and not joined: where a table was new when this was planned, a join of bounded keys
# reads all between the bounds, until PostgreSQL has looked at the table again.
_TAKE = f"""
WITH next AS (
    SELECT id FROM executions_execution
    WHERE organization_id = %(organization)s AND status = 'queued' AND id >= %(low)s AND id < %(high)s
    ORDER BY batch_row NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED
),
taken AS (
    UPDATE executions_execution e
    SET status = 'running', started_at = %(now)s, lease_expires_at = %(lease)s,
        queue_ms = greatest(0, least(extract(epoch FROM %(now)s - e.created_at) * 1000, 2147483647))::integer
    WHERE e.id = (SELECT id FROM next) AND e.id >= %(low)s AND e.id < %(high)s
    RETURNING {", ".join(f"e.{name}" for name in _COLUMNS)}
)
SELECT taken.*, {", ".join(f"p.{name}" for name in _PAYLOAD)}
FROM taken, executions_executionpayload p
WHERE p.execution_id = (SELECT id FROM next) AND p.execution_id >= %(low)s AND p.execution_id < %(high)s
"""  # noqa: S608 (names of our own columns)
_FREE = """
SELECT count(*) FILTER (WHERE status = 'todo') + greatest(0, count(*) FILTER (WHERE status = 'doing') - (
    SELECT count(*) FROM executions_execution WHERE status = 'running' AND is_background))
FROM procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing')
"""
_ORGANIZATIONS = """
WITH RECURSIVE waiting AS (
    (SELECT organization_id FROM executions_execution
     WHERE status = 'queued' AND id >= %(low)s AND id < %(high)s ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT organization_id FROM executions_execution
            WHERE status = 'queued' AND id >= %(low)s AND id < %(high)s AND organization_id > waiting.organization_id
            ORDER BY organization_id LIMIT 1)
    FROM waiting WHERE waiting.organization_id IS NOT NULL
)
SELECT organization_id FROM waiting WHERE organization_id IS NOT NULL
"""


def most_runners() -> int:
    """Of a process: an eighth of its jobs are left for other work."""
    jobs = capacity()
    return max(1, jobs - max(1, jobs // 8))


def most_of_one() -> int:
    """Calls of one organization that run in a process at once."""
    runners = most_runners()
    return max(1, runners - runners // 8)


def call_runners(organization_id: UUID, executions: int) -> None:
    """Have runners come for so many executions; in the transaction that stores them."""
    jobs: list[JSONDict] = [{"organization_id": str(organization_id)}] * min(executions, settings.QUEUE_RUNNERS)
    app.configure_task(TASK, queue=QUEUE).batch_defer(*jobs)


def call_missing_runners_for(organization_id: UUID, waiting: int) -> None:
    """As `call_runners`, for who stores a few again and again: only as many as are not there for them already.

    Runners that call nobody are free, or end just now: who stores them looks again a moment later.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [TASK])
        free = int(cursor.fetchone()[0])
    missing = min(waiting, settings.QUEUE_RUNNERS) - free
    if missing > 0:
        call_runners(organization_id, missing)


def waiting_organizations() -> list[UUID]:
    """Those with queued executions."""
    with connection.cursor() as cursor:
        cursor.execute(_ORGANIZATIONS, _bounds())
        return [row[0] for row in cursor.fetchall()]


def _take(organization_id: UUID) -> Execution | None:
    """The organization's next execution, with its payload, running from now on; committed."""
    now = timezone.now()
    with prepared_cursor() as cursor:
        cursor.execute(_TAKE, {"organization": organization_id, "now": now, "lease": lease_end(), **_bounds()})
        row = cursor.fetchone()
    if row is None:
        return None
    values, said = list(row[: len(_COLUMNS)]), row[len(_COLUMNS) :]
    for place, convert in _CONVERTERS:
        values[place] = convert(values[place], None, connection)
    execution = Execution.from_db(DEFAULT_DB_ALIAS, _COLUMNS, values)
    execution.payload = ExecutionPayload(execution=execution, **dict(zip(_PAYLOAD, said, strict=True)))
    return execution


def _bounds() -> dict[str, UUID]:
    now = timezone.now()
    return {"low": id_bound(now - WAITS_AT_MOST - _MARGIN), "high": id_bound(now + _MARGIN)}


class Turns:
    """Whose turn it is in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Counter[UUID] = Counter()
        # With when it was last said that the organization has something queued: a number that grows.
        self._waiting: dict[UUID, int] = {}
        self._said = 0
        self._look_at = 0.0

    def announce(self, *organization_ids: UUID) -> None:
        """That they may have queued executions."""
        with self._lock:
            self._said += 1
            self._waiting |= dict.fromkeys(organization_ids, self._said)

    def take(self) -> Execution | None:
        """The execution whose turn it is, or None when nothing is queued. `leave` when it has ended.

        Takes pass over what others have locked, and those may let go of it: only who sees nothing queued is told None.
        """
        if self._may_look():
            self._look()
        execution = self._take_next()
        if execution is None and self._look():
            execution = self._take_next()
        return execution

    def _take_next(self) -> Execution | None:
        while (turn := self._enter_next()) is not None:
            organization_id, said = turn
            execution = None
            try:
                execution = _take(organization_id)
            finally:
                if execution is None:
                    self.leave(organization_id)
            if execution is not None:
                return execution
            self._forget(organization_id, said)
        return None

    def _forget(self, organization_id: UUID, said: int) -> None:
        """Nothing was there; what was announced meanwhile may have been stored too late to be found."""
        with self._lock:
            if self._waiting.get(organization_id) == said:
                del self._waiting[organization_id]

    def leave(self, organization_id: UUID) -> None:
        with self._lock:
            self._running[organization_id] -= 1
            if not self._running[organization_id]:
                del self._running[organization_id]

    def _may_look(self) -> bool:
        with self._lock:
            now = time.monotonic()
            is_time = now >= self._look_at
            if is_time:
                self._look_at = now + LOOK_AGAIN_S
            return is_time

    def _look(self) -> bool:
        found = waiting_organizations()
        self.announce(*found)
        return bool(found)

    def _enter_next(self) -> tuple[UUID, int] | None:
        with self._lock:
            organization_id = min(self._waiting, key=lambda key: self._running[key], default=None)
            if organization_id is None or self._running[organization_id] >= most_of_one():
                return None
            said = self._waiting[organization_id] = self._waiting.pop(organization_id)
            self._running[organization_id] += 1
            return organization_id, said


TURNS = Turns()
