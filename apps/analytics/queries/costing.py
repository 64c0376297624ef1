"""What executions have cost: in all, day by day, and by who or what caused it."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone

from apps.analytics.billing.forecasting import MOST_DAYS, forecast
from apps.analytics.queries.answering import framed, times
from apps.analytics.queries.asking import Query
from apps.analytics.queries.grouping import NOTHING, group_json, grouped
from apps.analytics.queries.measuring import COUNTS, Json, merged, money, relative, share
from apps.analytics.queries.naming import names_of
from apps.analytics.queries.ranges import Interval, day_start, next_start
from apps.analytics.rollups.reading import Scope, read
from apps.executions.models import COST_PLACES
from apps.users.principal import Principal

_COUNTS = tuple(name for name in COUNTS if name not in {"errors", "cancelled"})


def costs(query: Query, by: Principal) -> Json:
    scope = Scope(query.organization_id, query.filters)
    course = {cell.bucket: cell for cell in read(scope, boundaries=query.starts, has_latencies=False)}
    totals = merged(list(course.values()))
    before = (
        merged(read(scope, boundaries=query.previous_whole, has_latencies=False)) if query.previous_starts else None
    )
    return {
        **framed(query),
        "totals": cost_of(totals),
        "previous": None if before is None else cost_of(before),
        "change": None if before is None else relative(totals.cost_usd, before.cost_usd),
        "points": [
            {**times(query, start, end), **cost_of(course.get(place, NOTHING))}
            for place, (start, end) in enumerate(pairwise(query.starts))
        ],
        **_groups(query, by, totals),
        "forecast": expected_of_month(scope, query.span.zone, timezone.now()),
    }


def expected_of_month(scope: Scope, zone: ZoneInfo, now: datetime) -> Json | None:
    """What the current month of the time zone will have cost at its end; None in the first week of executions."""
    today = now.astimezone(zone).date()
    month, month_end = day_start(today.replace(day=1), zone), next_start(now, Interval.MONTH, zone)
    first = min(today.replace(day=1), today - timedelta(days=MOST_DAYS))
    days = [day_start(first + timedelta(days=number), zone) for number in range((today - first).days + 1)]
    spent = [Decimal(0)] * len(days)
    seen = len(days)
    for cell in read(scope, boundaries=[*days, max(now, days[-1] + timedelta(microseconds=1))], has_latencies=False):
        spent[cell.bucket], seen = cell.cost_usd, min(seen, cell.bucket)
    tomorrow = next_start(now, Interval.DAY, zone)
    left = (tomorrow - now) / (tomorrow - days[-1]) + (month_end.astimezone(zone).date() - today).days - 1
    so_far = sum((cost for day, cost in zip(days, spent, strict=True) if day >= month), start=Decimal(0))
    found = forecast(spent[seen:-1], last_day=today - timedelta(days=1), days_left=left, spent_so_far=so_far)
    if found is None:
        return None
    return {
        "from": month,
        "to": month_end,
        "confidence": found.confidence,
        "spent_usd": money(so_far),
        "expected_usd": money(found.expected),
        "low_usd": money(found.low),
        "high_usd": money(found.high),
    }


def _groups(query: Query, by: Principal, totals: Any) -> Json:
    if not query.group_by:
        return {"group_count": 0, "groups": [], "rest": None}
    scope = Scope(query.organization_id, query.filters)
    groups = grouped(read(scope, boundaries=query.whole, group_by=query.group_by, has_latencies=False), query)
    names = names_of(by, query.group_by, groups.keys)

    def row(found: dict[int, Any]) -> Json:
        cell = merged(list(found.values()))
        return {**cost_of(cell), "cost_share": share(cell.cost_usd, totals.cost_usd)}

    rows = [{"group": group_json(query, key, names), **row(found)} for key, found in groups.cells.items()]
    return {"group_count": groups.count, "groups": rows, "rest": row(groups.rest) if groups.rest else None}


def cost_of(cell: Any) -> Json:
    """`mean_cost_usd` is over the requests whose cost is known."""
    priced = cell.requests - cell.unpriced
    return {
        **{name: getattr(cell, name) for name in _COUNTS},
        "cost_usd": money(cell.cost_usd),
        "saved_cost_usd": money(cell.saved_cost_usd),
        "mean_cost_usd": money(round(cell.cost_usd / priced, COST_PLACES)) if priced else None,
    }
