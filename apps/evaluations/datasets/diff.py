"""What is other between two versions. An item that was changed has another id at the same position."""

from typing import Any
from uuid import UUID

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Q, Value

from apps.evaluations.models import DatasetItem, DatasetVersion

CHANGES = {
    "added": Q(before_count=0),
    "removed": Q(after_count=0),
    "changed": Q(before_count__gt=0, after_count__gt=0),
}


def changed_positions(before: DatasetVersion | None, after: DatasetVersion) -> Any:
    """Rows with `before_ids` and `after_ids`, one or none each, in the order of the items. `before` None is empty."""
    is_before = _in_version(before.version_number if before else 0)
    is_after = _in_version(after.version_number)
    either = DatasetItem.objects.filter(dataset_id=after.dataset_id).filter(
        (is_before & ~is_after) | (is_after & ~is_before)
    )
    by_position = either.order_by().values("position")
    return by_position.annotate(
        before_count=Count("id", filter=is_before),
        after_count=Count("id", filter=is_after),
        before_ids=ArrayAgg("id", filter=is_before, default=Value([])),
        after_ids=ArrayAgg("id", filter=is_after, default=Value([])),
    ).order_by("position")


def _in_version(number: int) -> Q:
    return Q(since__lte=number) & (Q(until__isnull=True) | Q(until__gt=number))


def count_changes(rows: Any) -> dict[str, int]:
    counts: dict[str, int] = rows.aggregate(**{name: Count("position", filter=kind) for name, kind in CHANGES.items()})
    return counts


def with_items(rows: Any) -> list[dict[str, Any]]:
    """Of one page: `{change, before, after}` with the items themselves."""
    page = list(rows)
    ids = {key for row in page for key in (*row["before_ids"], *row["after_ids"])}
    items = DatasetItem.objects.in_bulk(ids)
    return [_change(row, items) for row in page]


def _change(row: dict[str, Any], items: dict[UUID, DatasetItem]) -> dict[str, Any]:
    before, after = (items[ids[0]] if ids else None for ids in (row["before_ids"], row["after_ids"]))
    kind = "changed" if before and after else "added" if after else "removed"
    return {"change": kind, "before": before, "after": after}
