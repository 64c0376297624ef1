"""A run's event log: what readers of its stream are told, in the order of the commits.

The number of an event is taken from the run's own row, whose lock is held until the commit: there is no gap, and who
has seen a number has seen all before it.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from apps.workflows.models import WorkflowRun
from everquant.db import prepared_cursor

Event = tuple[str, dict[str, Any]]

_APPEND = """
WITH event AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb)
        AS e(run_id uuid, fence integer, type text, data json, place integer)
),
owner AS (SELECT run_id, fence, count(*)::integer AS events FROM event GROUP BY run_id, fence),
run AS (
    UPDATE workflows_workflowrun r SET last_event = r.last_event + owner.events FROM owner
    WHERE r.id = owner.run_id AND (owner.fence IS NULL OR r.fence = owner.fence)
    RETURNING r.id, r.last_event, owner.events
)
INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
SELECT run.id, run.last_event - run.events + event.place, event.type, event.data, now()
FROM run JOIN event ON event.run_id = run.id RETURNING number
"""


def append(run_id: UUID, events: Sequence[Event]) -> int:
    """Store the events; gives the number of the last one, 0 when the run is gone."""
    return _append([_row(run_id, None, place, event) for place, event in enumerate(events, 1)])


def append_to_many(events: Sequence[tuple[WorkflowRun, Sequence[Event]]]) -> None:
    """As `append`, for several runs in one statement; not for those that another worker has taken."""
    rows = [_row(run.id, run.fence, place, event) for run, own in events for place, event in enumerate(own, 1)]
    if rows:
        _append(rows)


def in_order(events: Sequence[Event]) -> str:
    """As JSON for a statement that numbers them."""
    rows = [{"type": kind, "data": data, "place": place} for place, (kind, data) in enumerate(events, 1)]
    return orjson.dumps(rows, default=str).decode()


def _row(run_id: UUID, fence: int | None, place: int, event: Event) -> dict[str, Any]:
    return {"run_id": run_id, "fence": fence, "place": place, "type": event[0], "data": event[1]}


def _append(rows: list[dict[str, Any]]) -> int:
    with prepared_cursor() as cursor:
        cursor.execute(_APPEND, [orjson.dumps(rows, default=str).decode()])
        return max((row[0] for row in cursor.fetchall()), default=0)
