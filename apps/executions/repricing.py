"""What finished executions cost at today's prices. Only who asks for it changes history: else rows keep their price.

Budgets follow by themselves: the trigger that settles executions adds the difference to the period of each.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Q

from apps.executions.models import COST_PLACES, TERMINAL, Execution
from apps.models.models import LLMModel
from apps.models.prices import cost, prices_of
from apps.models.providers.base import Usage
from apps.users.models import AuditEntry
from everquant.db import uuid7

BATCH = 1000
_SMALLEST_USD = Decimal(1).scaleb(-COST_PLACES)
_COUNTS = (
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens",
)  # fmt: skip

_WRITE = """
UPDATE executions_execution e SET cost_usd = n.new_usd, price = n.price
FROM jsonb_to_recordset(%s::jsonb) AS n(id uuid, old_usd numeric, new_usd numeric, price jsonb)
WHERE e.id = n.id AND e.id BETWEEN %s AND %s AND e.cost_usd IS NOT DISTINCT FROM n.old_usd
RETURNING e.id
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which executions: made from `since` until before `until`; with `only_unknown` those without a cost."""

    since: datetime | None = None
    until: datetime | None = None
    organization_id: UUID | None = None
    model: str = ""
    only_unknown: bool = False

    def rows(self) -> Any:
        found = Execution.objects.filter(status__in=TERMINAL, input_tokens__isnull=False, is_cached=False)
        if self.since:
            found = found.created_from(self.since)
        if self.until:
            found = found.created_before(self.until)
        if self.organization_id:
            found = found.for_organization(self.organization_id)
        if self.only_unknown:
            found = found.filter(cost_usd__isnull=True)
        return found.filter(self._of_model()) if self.model else found

    def _of_model(self) -> Q:
        """By its id, or by our or the provider's name of it."""
        named = Q(slug=self.model) | Q(provider_model_name=self.model)
        with suppress(ValueError):
            named |= Q(id=UUID(self.model))
        ids = list(LLMModel.objects.filter(named).values_list("id", flat=True))
        return Q(model_id__in=ids) | Q(provider_model=self.model)


@dataclass(slots=True)
class Change:
    """One execution whose cost would be another."""

    row: Execution
    new_usd: Decimal
    price: dict[str, str | None]


@dataclass(slots=True)
class Totals:
    """Of one model: rows seen, those that change and those whose price is not known now; USD before and after."""

    seen: int = 0
    changed: int = 0
    unknown: int = 0
    old_usd: Decimal = Decimal(0)
    new_usd: Decimal = Decimal(0)


@dataclass(slots=True)
class Repricing:
    """A run over a selection; `step` after `step` until there is nothing left. Without `is_dry` it writes."""

    selection: Selection
    is_dry: bool
    batch: int = BATCH
    run_id: UUID = field(default_factory=uuid7)
    totals: dict[str, Totals] = field(default_factory=dict)
    _models: dict[UUID, LLMModel] = field(default_factory=dict)
    _entries: dict[UUID, AuditEntry] = field(default_factory=dict)

    def run(self) -> Iterator[int]:
        """How many rows were looked at so far, after each batch; a batch and its audit entry are one transaction."""
        seen, last = 0, UUID(int=0)
        while rows := list(self.selection.rows().filter(id__gt=last).order_by("id")[: self.batch]):
            last, seen = rows[-1].id, seen + len(rows)
            self._load_models(rows)
            changes = [change for row in rows if (change := self._changed(row)) is not None]
            if changes and not self.is_dry:
                self._write(changes)
            yield seen

    def _load_models(self, rows: list[Execution]) -> None:
        missing = {row.model_id for row in rows if row.model_id} - self._models.keys()
        if missing:
            self._models.update(LLMModel.objects.with_provider().in_bulk(missing))

    def _changed(self, row: Execution) -> Change | None:
        """None when the cost stays, also because today's price is not known: a known cost is not forgotten."""
        totals = self.totals.setdefault(row.provider_model, Totals())
        old_usd = row.cost_usd or Decimal(0)
        totals.seen += 1
        totals.old_usd += old_usd
        model = self._models.get(row.model_id) if row.model_id else None
        usage = Usage(**{name: getattr(row, name) or 0 for name in _COUNTS})
        prices = prices_of(model, input_tokens=usage.whole_input) if model else None
        total = cost(usage, prices)
        if total is None or prices is None:
            totals.unknown += 1
            totals.new_usd += old_usd
            return None
        new_usd = total.quantize(_SMALLEST_USD)
        totals.new_usd += new_usd
        if new_usd == row.cost_usd:
            return None
        totals.changed += 1
        return Change(row, new_usd, prices.as_row())

    @transaction.atomic
    def _write(self, changes: list[Change]) -> None:
        """A row whose cost has changed meanwhile is left as it is."""
        rows = [
            {"id": c.row.id, "old_usd": _text(c.row.cost_usd), "new_usd": _text(c.new_usd), "price": c.price}
            for c in changes
        ]
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [orjson.dumps(rows).decode(), changes[0].row.id, changes[-1].row.id])
            written = {row[0] for row in cursor.fetchall()}
        for change in changes:
            if change.row.id in written:
                self._note(change)
        for entry in self._entries.values():
            entry.save()

    def _note(self, change: Change) -> None:
        """One audit entry for each organization, with the sums of the run."""
        organization_id = change.row.organization_id
        entry = self._entries.get(organization_id)
        if entry is None:
            entry = self._entries[organization_id] = AuditEntry(
                content_type=ContentType.objects.get_for_model(Execution),
                object_pk=str(self.run_id),
                object_repr="Repricing of executions",
                action=AuditEntry.Action.UPDATE,
                changes={"executions": ["0", "0"], "cost_usd": ["0", "0"]},
                additional_data={"organization_id": str(organization_id)},
            )
        so_far: dict[str, list[str]] = entry.changes or {}
        count = int(so_far["executions"][1]) + 1
        old, new = (Decimal(value) for value in so_far["cost_usd"])
        sums = [_text(old + (change.row.cost_usd or 0)), _text(new + change.new_usd)]
        entry.changes = {"executions": ["0", str(count)], "cost_usd": sums}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
