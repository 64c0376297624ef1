"""Writing the ledger: a day of an organization once nothing of it runs any more, and anew when a cost has changed.

Days are of the executions' keys, in UTC. Marks are deleted before the executions are read: a change that is committed
later leaves a mark of its own.
"""

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.analytics.billing.naming import remember_names
from apps.analytics.models import LedgerDay, LedgerMark, LedgerState, RetentionPolicy
from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution
from apps.organizations.models import Organization

ONE_DAY = timedelta(days=1)
# Keys are made by the clocks of web and worker, and are seen when their transaction commits.
_GRACE = timedelta(hours=1)

KEYS = ("prompt_id", "model_id", "provider_model", "user_id", "api_key_id", "source", "price")
COUNTS = ("executions", "cached", "estimated", "unpriced", "without_usage")
TOKENS = (
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens",
)  # fmt: skip
AMOUNTS = ("cost_usd", "saved_cost_usd")
SUMS = (*COUNTS, *TOKENS, *AMOUNTS)

# One execution as a line of the ledger.
AS_LINE = f"""
    e.prompt_id, e.model_id, e.provider_model, e.created_by_id AS user_id, e.api_key_id, e.source, e.price,
    1 AS executions, e.is_cached::int AS cached, e.is_usage_estimated::int AS estimated,
    (e.cost_usd IS NULL AND e.input_tokens IS NOT NULL)::int AS unpriced,
    (e.cost_usd IS NULL AND e.input_tokens IS NULL)::int AS without_usage,
    {", ".join(f"coalesce(e.{name}, 0) AS {name}" for name in TOKENS)}, e.cost_usd, e.saved_cost_usd
"""
_SUMMED = ", ".join(f"sum({name})" for name in SUMS)
_OF_DAY = f"""
SELECT {", ".join(KEYS)}, {_SUMMED} FROM (
    SELECT {AS_LINE} FROM executions_execution e
    WHERE e.organization_id = %s AND e.id >= %s AND e.id < %s AND e.finished_at IS NOT NULL
) AS lines GROUP BY {", ".join(KEYS)}
"""  # noqa: S608 (our own names)
_WRITE = f"""
INSERT INTO analytics_ledgerday (organization_id, day, {", ".join(KEYS)}, {", ".join(SUMS)})
SELECT %s, %s, lines.* FROM ({_OF_DAY}) AS lines
"""  # noqa: S608 (as above)
# Whether both say the same: no line that only one of them has.
_DIFFERENCES = f"""
WITH executed AS ({_OF_DAY}),
written AS (
    SELECT {", ".join(KEYS)}, {", ".join(SUMS)} FROM analytics_ledgerday WHERE organization_id = %s AND day = %s
)
SELECT (SELECT count(*) FROM (SELECT * FROM executed EXCEPT ALL SELECT * FROM written) AS missing)
    + (SELECT count(*) FROM (SELECT * FROM written EXCEPT ALL SELECT * FROM executed) AS surplus)
"""  # noqa: S608 (as above)
_UNFINISHED = """
SELECT EXISTS (SELECT FROM executions_execution e WHERE e.status = 'queued' AND {which})
    OR EXISTS (SELECT FROM executions_execution e WHERE e.status = 'running' AND {which})
""".format(which="e.organization_id = %(organization)s AND e.id >= %(low)s AND e.id < %(high)s")  # noqa: S608 (as above)


def midnight(day: date) -> datetime:
    """Its first instant in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def bounds(start: date, end: date) -> tuple[UUID, UUID]:
    """The keys of the days from `start` until before `end`: from the first, below the second."""
    return id_bound(midnight(start)), id_bound(midnight(end))


def last_closable_day(now: datetime | None = None) -> date:
    """The first day that may not be closed yet."""
    return ((now or timezone.now()) - _GRACE).astimezone(UTC).date()


def close_days(organization: Organization, *, now: datetime | None = None) -> list[date]:
    """Write what can be written by now; gives the days that were written."""
    until = last_closable_day(now)
    _open(organization)
    return list(iter(lambda: _close_next(organization.id, until), None))


def marked_days(organization_id: UUID) -> list[date]:
    """Closed days of which a cost has changed."""
    state = LedgerState.objects.filter(organization_id=organization_id).first()
    if state is None:
        return []
    marks = LedgerMark.objects.filter(organization_id=organization_id, day__lt=state.closed_until)
    return sorted(set(marks.values_list("day", flat=True)))


@transaction.atomic
def rewrite_day(organization_id: UUID, day: date) -> None:
    """From its executions; not of a day whose executions are purged: the ledger alone knows of it."""
    LedgerState.objects.select_for_update().get(organization_id=organization_id)
    LedgerMark.objects.filter(organization_id=organization_id, day=day).delete()
    policy = RetentionPolicy.objects.filter(organization_id=organization_id).first()
    if policy is not None and policy.is_purged(day):
        return
    LedgerDay.objects.filter(organization_id=organization_id, day=day).delete()
    _write(organization_id, day)


def is_verified(organization_id: UUID, day: date) -> bool:
    """Whether the ledger's lines of the day are, one by one, those of its executions."""
    low, high = bounds(day, day + ONE_DAY)
    with connection.cursor() as cursor:
        cursor.execute(_DIFFERENCES, [organization_id, low, high, organization_id, day])
        return int(cursor.fetchone()[0]) == 0


def has_unfinished(organization_id: UUID, low: UUID, high: UUID) -> bool:
    """Whether an execution with a key from `low` until before `high` has not ended; by the indexes of such.

    One statement: between two, a running one could go back to the queue and be seen by neither.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNFINISHED, {"organization": organization_id, "low": low, "high": high})
        return bool(cursor.fetchone()[0])


def first_execution(organization_id: UUID, since: date) -> Execution | None:
    """The first of those made on this day or later; its id alone is loaded."""
    rows = Execution.objects.for_organization(organization_id).created_from(midnight(since))
    found: Execution | None = rows.order_by("id").only("id").first()
    return found


def day_of(key: UUID) -> date:
    return time_of(key).date()


def _open(organization: Organization) -> None:
    if LedgerState.objects.filter(organization=organization).exists():
        return
    first = first_execution(organization.id, date(1970, 1, 1))
    begun = organization.created_at.astimezone(UTC).date()
    opened_on = min(begun, day_of(first.id)) if first else begun
    LedgerState.objects.get_or_create(
        organization=organization, defaults={"opened_on": opened_on, "closed_until": opened_on}
    )


@transaction.atomic
def _close_next(organization_id: UUID, until: date) -> date | None:
    """Close the next day on which something was executed, and give it; None when there is none to close."""
    state = LedgerState.objects.select_for_update().get(organization_id=organization_id)
    first = first_execution(organization_id, state.closed_until) if state.closed_until < until else None
    day = day_of(first.id) if first else until
    if day >= until or has_unfinished(organization_id, *bounds(day, day + ONE_DAY)):
        _advance(state, min(day, until))
        return None
    LedgerMark.objects.filter(organization_id=organization_id, day=day).delete()
    _write(organization_id, day)
    _advance(state, day + ONE_DAY)
    return day


def _advance(state: LedgerState, to: date) -> None:
    if to > state.closed_until:
        state.closed_until = to
        state.save(update_fields=["closed_until"])


def _write(organization_id: UUID, day: date) -> None:
    low, high = bounds(day, day + ONE_DAY)
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [organization_id, day, organization_id, low, high])
    remember_names(organization_id, day)
