"""Deleting what is due: partitions are dropped where everything in them is, other rows go in batches, with pauses.

A day goes once the ledger has it, verified. `payloads_purged_before` and `purged_before` are moved before anything of
a day goes, so that nobody computes from what is half there; each batch looks at the policy anew, under its lock: a
legal hold that is committed stops the next one. Whatever is interrupted goes on where it was with the next run.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

import structlog
from django.db import OperationalError, connection, transaction

from apps.analytics.billing.ledger import ONE_DAY, bounds, day_of, first_execution, is_verified, rewrite_day
from apps.analytics.billing.statements import close_ledger
from apps.analytics.models import LedgerMark, LedgerState, RetentionPolicy
from apps.analytics.retention.partitions import (
    ATTEMPTS,
    EXECUTIONS,
    PAYLOADS,
    InUse,
    Partition,
    drop,
    overlap,
    partitions_of,
)
from apps.analytics.retention.pending import has_pending
from apps.analytics.retention.planning import Due, closed_until, due_of, is_whole, policies
from apps.executions.keys import time_of
from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Score
from apps.organizations.models import Organization

logger = structlog.get_logger(__name__)

BATCH = 1000
PAUSE_S = 0.05
LOCK_TIMEOUT_MS = 2000
_TRIES = 5


class Stopped(Exception):
    """The rest is left to the next run: the process ends, or the policy has changed."""


@dataclass(frozen=True, slots=True)
class Step:
    """`rows` of an organization that went, or a partition (then `rows` is None, and it is everybody's)."""

    organization: str
    what: str
    rows: int | None


@dataclass
class Purge:
    """One run. `should_stop` is asked before each batch; `left` says what was due and had to stay."""

    organization: Organization | None = None
    now: datetime | None = None
    batch: int = BATCH
    pause_s: float = PAUSE_S
    lock_timeout_ms: int = LOCK_TIMEOUT_MS
    should_stop: Callable[[], bool] = lambda: False
    left: list[str] = field(default_factory=list)
    _dues: dict[UUID, Due] = field(default_factory=dict)

    def run(self) -> Iterator[Step]:
        """Each step once it is done. What is stopped ends the run, or the organization's part of it."""
        found = policies(self.organization)
        for policy in found:
            close_ledger(policy.organization)
        self._dues = {policy.organization_id: self._due(policy) for policy in found}
        for table in (PAYLOADS, ATTEMPTS, EXECUTIONS):
            yield from self._drop_partitions(table)
        for policy in found:
            try:
                yield from self._purge_payloads(policy)
                yield from self._purge_executions(policy)
            except (Stopped, OperationalError) as reason:
                self._leave(policy.organization.slug, reason)

    def _leave(self, what: str, reason: Exception) -> None:
        logger.warning("purge_left", what=what, reason=str(reason))
        self.left.append(f"{what}: {reason}")

    def _due(self, policy: RetentionPolicy) -> Due:
        return due_of(policy, closed_until=closed_until(policy.organization_id), now=self.now)

    def _drop_partitions(self, table: str) -> Iterator[Step]:
        for partition in partitions_of(table):
            owners = partition.owners()
            if self.should_stop() or not is_whole(partition, owners, self._dues):
                continue
            if table == EXECUTIONS and any(overlap(partition, other) for other in (PAYLOADS, ATTEMPTS)):
                continue
            try:
                self._drop(partition, owners)
            except (InUse, Stopped, OperationalError) as reason:
                self._leave(partition.name, reason)
            else:
                yield Step("", f"partition {partition.name}", None)

    def _drop(self, partition: Partition, owners: list[UUID]) -> None:
        """Raises InUse, Stopped, or OperationalError when the table was in use each time."""
        end = time_of(partition.high).date()
        if partition.table == EXECUTIONS:
            for owner in owners:
                self._give_up_days(owner, time_of(partition.low).date(), end)
                self._delete_scores(owner, partition.low, partition.high)
        for attempt in range(1, _TRIES + 1):
            try:
                with transaction.atomic():
                    self._prepare()
                    for owner in sorted(owners):
                        self._still_due(owner, partition.table, end)
                        _move_mark(owner, partition.table, end)
                    drop(partition, owners)
            except OperationalError:
                if attempt == _TRIES:
                    raise
                time.sleep(self.pause_s * attempt)
            else:
                return

    def _give_up_days(self, organization_id: UUID, start: date, end: date) -> None:
        """Have the ledger alone know of these days."""
        while (first := first_execution(organization_id, start)) is not None and (day := day_of(first.id)) < end:
            self._give_up(organization_id, day)
            start = day + ONE_DAY

    def _give_up(self, organization_id: UUID, day: date) -> None:
        """From now on the ledger alone knows of the executions of this day; raises Stopped when it does not yet."""
        low, high = bounds(day, day + ONE_DAY)
        if has_pending(organization_id, low, high):
            raise Stopped(f"{day} is not added up yet")
        if not is_verified(organization_id, day):
            logger.error("ledger_differed", organization_id=str(organization_id), day=str(day))
            rewrite_day(organization_id, day)
            close_ledger(Organization.objects.get(id=organization_id))
        with transaction.atomic():
            self._still_due(organization_id, EXECUTIONS, day + ONE_DAY)
            LedgerState.objects.select_for_update().get(organization_id=organization_id)
            if LedgerMark.objects.filter(organization_id=organization_id, day=day).exists():
                raise Stopped(f"{day} has just changed")
            if not is_verified(organization_id, day):
                raise Stopped(f"the ledger of {day} differs")
            _move_mark(organization_id, EXECUTIONS, day + ONE_DAY)

    def _purge_payloads(self, policy: RetentionPolicy) -> Iterator[Step]:
        end = self._dues[policy.organization_id].payloads_before
        policy.refresh_from_db(fields=["payloads_purged_before"])
        begun = policy.payloads_purged_before
        start = begun - ONE_DAY if begun else date(1970, 1, 1)
        while end and (first := first_execution(policy.organization_id, start)) and (day := day_of(first.id)) < end:
            rows = self._delete_day(policy, day, PAYLOADS)
            start = day + ONE_DAY
            if rows:
                yield Step(policy.organization.slug, f"payloads of {day}", rows)

    def _purge_executions(self, policy: RetentionPolicy) -> Iterator[Step]:
        end = self._dues[policy.organization_id].executions_before
        start = date(1970, 1, 1)
        while end and (first := first_execution(policy.organization_id, start)) and (day := day_of(first.id)) < end:
            self._give_up(policy.organization_id, day)
            self._delete_scores(policy.organization_id, *bounds(day, day + ONE_DAY))
            yield Step(policy.organization.slug, f"executions of {day}", self._delete_day(policy, day, EXECUTIONS))
            start = day + ONE_DAY

    def _delete_day(self, policy: RetentionPolicy, day: date, table: str) -> int:
        """In batches, each a transaction of its own; gives how many rows of the table went."""
        low, high = bounds(day, day + ONE_DAY)
        count, last = 0, UUID(int=low.int - 1)
        while True:
            self._pause()
            with transaction.atomic():
                self._prepare()
                self._still_due(policy.organization_id, table, day + ONE_DAY)
                _move_mark(policy.organization_id, table, day + ONE_DAY)
                ids = _ended(policy.organization_id, last, high, self.batch)
                count += _delete(ids, table)
            if len(ids) < self.batch:
                return count
            last = ids[-1]

    def _delete_scores(self, organization_id: UUID, low: UUID, high: UUID) -> None:
        """Before the executions, so that none is left without its own."""
        rows = Score.objects.for_organization(organization_id).filter(execution_id__gte=low, execution_id__lt=high)
        while True:
            self._pause()
            with transaction.atomic():
                self._prepare()
                self._still_due(organization_id, EXECUTIONS, None)
                ids = list(rows.order_by("execution_id", "id").values_list("id", flat=True)[: self.batch])
                Score.objects.filter(id__in=ids)._raw_delete(Score.objects.db)
            if len(ids) < self.batch:
                return

    def _prepare(self) -> None:
        """For the transaction: no long wait for a lock, and rollups keep what is deleted."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {self.lock_timeout_ms:d}; SET LOCAL everquant.rollups = 'off'")

    def _pause(self) -> None:
        if self.should_stop():
            raise Stopped("the process ends")
        time.sleep(self.pause_s)

    def _still_due(self, organization_id: UUID, table: str, end: date | None) -> None:
        """Locks the policy until the transaction ends; raises Stopped when days before `end` are due no more."""
        policy = RetentionPolicy.objects.select_for_update().filter(organization_id=organization_id).first()
        due = self._due(policy).of(table) if policy else None
        if due is None or (end is not None and due < end):
            raise Stopped("the policy has changed")


def _move_mark(organization_id: UUID, table: str, day: date) -> None:
    """Under the policy's lock; never back."""
    policy = RetentionPolicy.objects.get(organization_id=organization_id)
    names = ["payloads_purged_before", "purged_before"] if table == EXECUTIONS else ["payloads_purged_before"]
    moved = [name for name in names if (getattr(policy, name) or date.min) < day]
    for name in moved:
        setattr(policy, name, day)
    if moved:
        policy.save(update_fields=moved)


def _ended(organization_id: UUID, last: UUID, high: UUID, limit: int) -> list[UUID]:
    """Keys of the next executions after `last` that have ended."""
    rows = Execution.objects.for_organization(organization_id).filter(id__gt=last, id__lt=high)
    return list(rows.filter(finished_at__isnull=False).order_by("id").values_list("id", flat=True)[:limit])


def _delete(ids: list[UUID], table: str) -> int:
    """Rows with these keys; the bounds let PostgreSQL look into one partition only."""
    if not ids:
        return 0
    beside = {"execution_id__in": ids, "execution_id__gte": ids[0], "execution_id__lte": ids[-1]}
    payloads = ExecutionPayload.objects.filter(**beside)
    payload_count = int(payloads._raw_delete(payloads.db))
    attempts = ExecutionAttempt.objects.filter(**beside)
    attempts._raw_delete(attempts.db)
    if table != EXECUTIONS:
        return payload_count
    executions = Execution.objects.filter(id__in=ids, id__gte=ids[0], id__lte=ids[-1])
    return int(executions._raw_delete(executions.db))
