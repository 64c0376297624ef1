"""A run's event log: what readers of its stream are told, in the order of the commits.

The number of an event is taken from the run's own row, whose lock is held until the commit: there is no gap, and who
has seen a number has seen all before it.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

Event = tuple[str, dict[str, Any]]

_APPEND = """
WITH event AS (
    SELECT type, data, place FROM jsonb_to_recordset(%s::jsonb) AS e(type text, data json, place integer)
),
run AS (
    UPDATE workflows_workflowrun SET last_event = last_event + (SELECT count(*) FROM event)
    WHERE id = %s AND (%s::integer IS NULL OR fence = %s) RETURNING id, last_event
)
INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
SELECT run.id, run.last_event - (SELECT count(*) FROM event) + event.place, event.type, event.data, now()
FROM run, event RETURNING number
"""


def append(run_id: UUID, events: Sequence[Event], *, fence: int | None = None) -> int:
    """Store the events; gives the number of the last one, 0 when the run is gone or taken by another (`fence`)."""
    rows = [{"type": kind, "data": data, "place": place} for place, (kind, data) in enumerate(events, 1)]
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, [orjson.dumps(rows, default=str).decode(), run_id, fence, fence])
        numbers = [row[0] for row in cursor.fetchall()]
    return max(numbers, default=0)
