"""What a prompt's calls of late say of a test to come: how many units there are a day, and how they vary."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.evaluations.ab_tests.happenings import MAX_VALUE
from apps.evaluations.ab_tests.measures import SCORE_PREFIX, Builtin
from apps.evaluations.statistics.moments import Moments
from apps.executions.keys import id_bound
from apps.executions.models import Source, Status
from apps.models.providers.base import ErrorCode

WINDOW = timedelta(days=14)
MOST_CALLS = 50_000
_DAY = timedelta(days=1)
_LEAST_DAYS = timedelta(minutes=1) / _DAY
# Those that a test of the prompt would have assigned.
_SOURCES = [Source.API, Source.BATCH, Source.GATEWAY, Source.WORKFLOW]

_ANSWERED = f"(e.status = '{Status.SUCCEEDED}')"
_VALUES: dict[str, str] = {
    Builtin.SUCCESS: f"{_ANSWERED}::int",
    Builtin.LATENCY_MS: f"CASE WHEN {_ANSWERED} THEN e.latency_ms END",
    Builtin.FIRST_TOKEN_MS: f"CASE WHEN {_ANSWERED} THEN e.first_token_ms END",
    Builtin.COST_USD: "e.cost_usd",
    Builtin.OUTPUT_TOKENS: f"CASE WHEN {_ANSWERED} THEN e.output_tokens END",
    Builtin.SCHEMA_VALID: f"CASE WHEN p.response_schema IS NOT NULL AND ({_ANSWERED} OR "
    f"e.error_code = '{ErrorCode.INVALID_OUTPUT}') THEN {_ANSWERED}::int END",
}
# Larger ones, whose squares are no numbers, are not counted by a test either.
_SCORE = f"CASE WHEN abs(s.number) <= {MAX_VALUE} THEN s.number END"
_PAYLOADS = "LEFT JOIN executions_executionpayload p ON p.execution_id = e.id"
_SCORES = """LEFT JOIN executions_score s
    ON s.organization_id = e.organization_id AND s.execution_id = e.id AND s.name = %(score)s"""
_READ = """
WITH calls AS (
    SELECT * FROM executions_execution
    WHERE organization_id = %(organization)s AND prompt_id = %(prompt)s AND id >= %(since)s
        AND started_at IS NOT NULL AND finished_at IS NOT NULL AND retry_of_id IS NULL AND source = ANY(%(sources)s)
    ORDER BY id DESC LIMIT %(most)s
), found AS (
    SELECT CASE WHEN e.unit_id = '' THEN '!' || e.id::text ELSE ':' || e.unit_id END AS unit, e.created_at,
        ({value})::float8 AS value
    FROM calls e {join}
), units AS (
    SELECT min(created_at) AS since, count(value)::float8 AS k, coalesce(sum(value), 0) AS s FROM found GROUP BY unit
)
SELECT (SELECT count(*) FROM calls), count(*), min(since), count(*) FILTER (WHERE k > 0), sum(k), sum(k * k),
    sum(s), sum(s * s), sum(s * k), sum(s / nullif(k, 0)), sum((s / nullif(k, 0)) ^ 2)
FROM units
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """`units` are new ones within `days`; `moments` are over those that have values."""

    units: int
    days: float
    moments: Moments

    @property
    def daily_units(self) -> float:
        return self.units / self.days

    @property
    def coverage(self) -> float:
        """The share of units that have a value; of what was never measured nobody knows, and all may have one."""
        return self.moments.units / self.units if self.moments.units else 1.0


def read_traffic(
    *, organization_id: UUID, prompt_id: UUID, measure: str, most_calls: int = MOST_CALLS
) -> Traffic | None:
    """Of the last 14 days, or their newest `most_calls` calls; None without a call. One query."""
    now = timezone.now()
    is_score = measure.startswith(SCORE_PREFIX)
    join = _SCORES if is_score else _PAYLOADS if measure == Builtin.SCHEMA_VALID else ""
    value = _SCORE if is_score else _VALUES.get(measure, "NULL")
    asked: dict[str, Any] = {
        "organization": organization_id,
        "prompt": prompt_id,
        "since": id_bound(now - WINDOW),
        "sources": _SOURCES,
        "most": most_calls,
        "score": measure.removeprefix(SCORE_PREFIX),
    }
    with connection.cursor() as cursor:
        cursor.execute(_READ.format(value=value, join=join), asked)
        calls, units, since, *sums = cursor.fetchone() or (0, 0, None)
    if since is None:
        return None
    return Traffic(
        int(units), _days(since, now, is_cut_off=calls == most_calls), Moments(*(float(each or 0) for each in sums))
    )


def _days(since: datetime, until: datetime, *, is_cut_off: bool) -> float:
    """At least one, as a single busy hour says little of a day; but where there were too many calls to read them all,
    what they took.
    """
    return max((until - since) / _DAY, _LEAST_DAYS if is_cut_off else 1.0)
