"""Statements: what an organization has used in a month (UTC), made of the ledger, and kept once the month is closed.

A closed month that turns out otherwise, because executions were repriced, gets another revision, which names the one
before and says how much more it is. Amounts are exact; `total_rounded_usd` alone is rounded, half to even, to cents.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.analytics.billing.ledger import close_days, last_closable_day, marked_days, rewrite_day
from apps.analytics.billing.naming import names_of
from apps.analytics.billing.usage import Row, by_name, read
from apps.analytics.models import LedgerMark, LedgerState, Statement
from apps.organizations.models import Organization

logger = structlog.get_logger(__name__)

Json = dict[str, Any]

CENT = Decimal("0.01")
_BREAKDOWNS = {"prompts": "prompt", "users": "user", "api_keys": "api_key", "days": "day"}
_GROUPINGS = [
    ("model_id", "provider_model", "price"),
    ("prompt_id",),
    ("user_id",),
    ("api_key_id",),
    ("day",),
    (),
]
# What of a statement says when and how it came to be, and not what was used.
_OF_THE_PAPER = ("revision", "is_final", "closed_at", "replaces", "organization_name")


def month_after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def month_before(month: date) -> date:
    return (month - timedelta(days=1)).replace(day=1)


def open_statement(organization: Organization, month: date) -> Json:
    """Of a month as it is known now; it is no revision yet."""
    return {"revision": 0, "is_final": False, "closed_at": None, "replaces": None, **_content(organization, month)}


def sha256_of(content: Json) -> str:
    """Of the content as JSON with sorted keys, without spaces, in UTF-8."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def close_ledger(organization: Organization) -> int:
    """Write the days that can be written, and the statements of the months that are whole; how many statements."""
    close_days(organization)
    by_month = groupby(marked_days(organization.id), key=lambda day: day.replace(day=1))
    revised = [revise_days(organization, list(days)) for _, days in by_month]
    closed = [close_month(organization=organization, month=month) for month in _missing_months(organization)]
    return sum(made is not None for made in (*revised, *closed))


@transaction.atomic
def revise_days(organization: Organization, days: Sequence[date]) -> Statement | None:
    """Write days of one month anew, with the revision that follows from it: neither is ever without the other."""
    for day in days:
        rewrite_day(organization.id, day)
    return close_month(organization=organization, month=days[0].replace(day=1))


def close_all() -> int:
    """`close_ledger` of every organization; what the database refuses for one is logged, and tried again next time."""
    return _close_each(Organization.objects.values_list("id", flat=True))


def revise_marked() -> int:
    """`close_ledger` of those in whose closed days a cost has changed."""
    marks = LedgerMark.objects.filter(
        Exists(
            LedgerState.objects.filter(organization_id=OuterRef("organization_id"), closed_until__gt=OuterRef("day"))
        )
    )
    return _close_each(marks.values_list("organization_id", flat=True).distinct())


def _close_each(ids: Iterable[UUID]) -> int:
    count = 0
    for organization in (Organization.objects.filter(id=one).first() for one in sorted(ids)):
        if organization is not None:
            try:
                count += close_ledger(organization)
            except DatabaseError:
                logger.exception("ledger_not_closed", organization=organization.slug)
    return count


@transaction.atomic
def close_month(*, organization: Organization, month: date) -> Statement | None:
    """Store its statement if the month is closed and nothing of the kind is stored; gives the new revision."""
    state = LedgerState.objects.select_for_update().filter(organization=organization).first()
    if state is None or state.closed_until < month_after(month):
        return None
    before: Statement | None = Statement.objects.for_organization(organization.id).of_month(month).first()
    content = _content(organization, month)
    if before is not None and _used(before.content) == _used(content):
        return None
    total = Decimal(content["total"]["cost_usd"] or 0)
    difference = total - before.total_usd if before else None
    content |= {
        "revision": before.revision + 1 if before else 1,
        "is_final": True,
        "closed_at": timezone.now().isoformat(timespec="seconds"),
        "replaces": _replaced(before, difference),
    }
    if before:
        logger.info("statement_revised", organization=organization.slug, month=str(month), difference=str(difference))
    return Statement.objects.create(
        organization=organization, month=month, revision=content["revision"], content=content,
        sha256=sha256_of(content), total_usd=total, difference_usd=difference,
    )  # fmt: skip


def _replaced(before: Statement | None, difference: Decimal | None) -> Json | None:
    if before is None:
        return None
    return {
        "revision": before.revision,
        "sha256": before.sha256,
        "total_usd": f"{before.total_usd:f}",
        "difference_usd": f"{difference:f}",
    }


def _used(content: Json) -> Json:
    """What was used, by ids and without names: an object that is renamed makes no other statement."""
    return {
        name: [_unnamed(line) for line in value] if isinstance(value, list) else value
        for name, value in content.items()
        if name not in _OF_THE_PAPER
    }


def _unnamed(line: Json) -> Json:
    return {name: value for name, value in line.items() if name not in {"name", "model"}}


def _missing_months(organization: Organization) -> list[date]:
    """Whole months of the ledger without a statement."""
    state = LedgerState.objects.get(organization=organization)
    stored = set(Statement.objects.for_organization(organization.id).values_list("month", flat=True))
    month, missing = state.opened_on.replace(day=1), []
    while month_after(month) <= state.closed_until:
        if month not in stored:
            missing.append(month)
        month = month_after(month)
    return missing


def _content(organization: Organization, month: date) -> Json:
    end = month_after(month)
    lines, *rest, (total,) = read(organization.id, month, end, _GROUPINGS)
    breakdowns = dict(zip(_BREAKDOWNS, rest, strict=True))
    return {
        "organization_id": str(organization.id),
        "organization_name": organization.name,
        "month": f"{month:%Y-%m}",
        "from": month.isoformat(),
        "to": end.isoformat(),
        "currency": "USD",
        "total": {**total.as_json(), "rounded_usd": rounded(total.cost_usd)},
        "lines": _lines(organization.id, lines),
        **{name: by_name(organization.id, _BREAKDOWNS[name], rows) for name, rows in breakdowns.items()},
    }


def rounded(amount: Decimal | None) -> str | None:
    """To whole cents, half to even."""
    return None if amount is None else f"{amount.quantize(CENT, rounding=ROUND_HALF_EVEN):f}"


def _lines(organization_id: UUID, rows: list[Row]) -> list[Json]:
    """By model and price, the dearest first; those whose cost is not known are lines of their own, at the end."""
    names = names_of(organization_id, "model", {row.key["model_id"] for row in rows if row.key["model_id"]})
    ordered = sorted(
        rows,
        key=lambda row: (row.cost_usd is None, -(row.cost_usd or 0), row.key["provider_model"], str(row.key)),
    )
    return [
        {
            "model_id": str(row.key["model_id"]) if row.key["model_id"] else None,
            "model": names.get(row.key["model_id"]),
            "provider_model": row.key["provider_model"],
            "price": row.key["price"],
            **row.as_json(),
        }
        for row in ordered
    ]


def is_over(month: date) -> bool:
    """Whether the month has ended, so that it is or will be closed."""
    return month_after(month) <= last_closable_day()
