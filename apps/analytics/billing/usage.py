"""Reading what was used: closed days from the ledger, others from the executions, all in one statement and snapshot.

Sums are exact; nothing is rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from apps.analytics.billing.ledger import AMOUNTS, AS_LINE, COUNTS, KEYS, ONE_DAY, SUMS, TOKENS, bounds
from apps.analytics.billing.naming import names_of

Json = dict[str, Any]

# What usage is grouped by: the column of the ledger.
GROUPS = {"prompt": "prompt_id", "model": "model_id", "user": "user_id", "api_key": "api_key_id", "day": "day"}
_COLUMNS = ("day", *KEYS)

_LINES = f"""
WITH days AS (
    SELECT * FROM unnest(%(days)s::date[], %(lows)s::uuid[], %(highs)s::uuid[]) AS d(day, low, high)
    WHERE d.day >= coalesce((
        SELECT purged_before FROM analytics_retentionpolicy WHERE organization_id = %(organization)s
    ), '-infinity')
    AND (
        d.day >= coalesce((
            SELECT closed_until FROM analytics_ledgerstate WHERE organization_id = %(organization)s
        ), '-infinity')
        OR EXISTS (
            SELECT FROM analytics_ledgermark m WHERE m.organization_id = %(organization)s AND m.day = d.day
        )
    )
),
lines AS (
    SELECT day, {", ".join(KEYS)}, {", ".join(SUMS)} FROM analytics_ledgerday
    WHERE organization_id = %(organization)s AND day >= %(start)s AND day < %(end)s
        AND day NOT IN (SELECT day FROM days)
    UNION ALL
    SELECT days.day, executed.* FROM days CROSS JOIN LATERAL (
        SELECT {AS_LINE} FROM executions_execution e
        WHERE e.organization_id = %(organization)s AND e.id >= days.low AND e.id < days.high
            AND e.finished_at IS NOT NULL
    ) AS executed
)
"""  # noqa: S608 (our own names)
_SUMMED = ", ".join(
    f"sum({name})" if name in AMOUNTS else f"coalesce(sum({name}), 0)::bigint AS {name}" for name in SUMS
)


@dataclass(frozen=True, slots=True)
class Row:
    """Sums of the lines that have `key` in common. `cost_usd` is None when of no execution a cost is known."""

    key: Json
    counts: dict[str, int]
    tokens: dict[str, int]
    cost_usd: Decimal | None
    saved_cost_usd: Decimal | None

    def as_json(self) -> Json:
        amounts = {name: _text(getattr(self, name)) for name in AMOUNTS}
        return {**self.counts, **self.tokens, **amounts}


def read(organization_id: UUID, start: date, end: date, groupings: Sequence[Sequence[str]]) -> list[list[Row]]:
    """Rows for each of the groupings (names of the ledger's columns) of the days from `start` until before `end`.

    The empty grouping has one row at least, also when there is nothing.
    """
    columns = [column for column in _COLUMNS if any(column in grouping for grouping in groupings)]
    sets = ", ".join(f"({', '.join(grouping)})" for grouping in groupings)
    chosen = [f"{column}::text" if column == "price" else column for column in columns]
    mask = f"GROUPING({', '.join(columns)})" if columns else "0"
    statement = f"{_LINES} SELECT {', '.join([*chosen, mask, _SUMMED])} FROM lines GROUP BY GROUPING SETS ({sets})"  # noqa: S608 (as above)
    days = [start + timedelta(days=number) for number in range((end - start).days)]
    keys = [bounds(day, day + ONE_DAY) for day in days]
    values: dict[str, Any] = {
        "organization": organization_id, "start": start, "end": end,
        "days": days, "lows": [low for low, _ in keys], "highs": [high for _, high in keys],
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchall()
    masks = [_mask(columns, grouping) for grouping in groupings]
    return [
        [_row(columns, grouping, row) for row in found if row[len(columns)] == mask]
        for grouping, mask in zip(groupings, masks, strict=True)
    ]


def report(organization_id: UUID, start: date, end: date, group_by: str) -> Json:
    """Usage by one of GROUPS, the dearest first (days in their order), with the total."""
    column = GROUPS[group_by]
    rows, (total,) = read(organization_id, start, end, [(column,), ()])
    named = by_name(organization_id, group_by, rows)
    return {
        "from": start.isoformat(),
        "to": end.isoformat(),
        "group_by": group_by,
        "currency": "USD",
        "rows": named,
        "total": total.as_json(),
    }


def by_name(organization_id: UUID, group: str, rows: Sequence[Row]) -> list[Json]:
    """As JSON with `key` and `name`, the dearest first; days in their order."""
    column = GROUPS[group]
    if group == "day":
        days = sorted(rows, key=lambda row: row.key["day"])
        return [{"key": str(row.key["day"]), "name": str(row.key["day"]), **row.as_json()} for row in days]
    names = names_of(organization_id, group, [row.key[column] for row in rows if row.key[column]])
    return [
        {"key": _text(row.key[column]), "name": names.get(row.key[column]), **row.as_json()}
        for row in sorted(rows, key=lambda row: (-(row.cost_usd or 0), str(row.key[column])))
    ]


def _mask(columns: Sequence[str], grouping: Sequence[str]) -> int:
    """What GROUPING() says of this set: a bit for each column that is not of it, the first column's the highest."""
    bits = ("0" if column in grouping else "1" for column in columns)
    return int("0" + "".join(bits), 2)


def _row(columns: Sequence[str], grouping: Sequence[str], values: Sequence[Any]) -> Row:
    found = dict(zip(columns, values, strict=False))
    key = {column: found[column] for column in grouping}
    if key.get("price") is not None:
        key["price"] = orjson.loads(key["price"])
    sums = dict(zip(SUMS, values[len(columns) + 1 :], strict=True))
    return Row(
        key,
        {name: sums[name] for name in COUNTS},
        {name: sums[name] for name in TOKENS},
        sums["cost_usd"],
        sums["saved_cost_usd"],
    )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
