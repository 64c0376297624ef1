"""Deleting what is due: partitions are dropped where everything in them is, other rows go in batches, with pauses.

A day goes once the ledger has it, verified. `payloads_purged_before` and `purged_before` are moved before anything of
a day goes, so that nobody computes from what is half there; each batch looks at the policy anew, under its lock: a
legal hold that is committed stops the next one. Whatever is interrupted goes on where it was with the next run.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import product
from uuid import UUID

import structlog
from django.db import DatabaseError, OperationalError, connection, transaction

from apps.analytics.billing.ledger import ONE_DAY, bounds, day_of, first_execution, is_verified
from apps.analytics.billing.statements import close_ledger, revise_days
from apps.analytics.models import LedgerMark, LedgerState, RetentionPolicy
from apps.analytics.retention.partitions import (
    ATTEMPTS,
    EXECUTIONS,
    PAYLOADS,
    InUse,
    Partition,
    default_partition,
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
# Whoever waits for a whole table has all others wait behind.
DROP_TIMEOUT_MS = 250
_TRIES = 6


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
    drop_timeout_ms: int = DROP_TIMEOUT_MS
    should_stop: Callable[[], bool] = lambda: False
    left: list[str] = field(default_factory=list)
    _dues: dict[UUID, Due] = field(default_factory=dict)

    def run(self) -> Iterator[Step]:
        """Each step once it is done. What is stopped ends the run, or the organization's part of it."""
        if self.organization is None:
            yield from self._purge_deleted()
        found = [policy for policy in policies(self.organization) if self._is_closed(policy.organization)]
        self._dues = {policy.organization_id: self._due(policy) for policy in found}
        for table in (PAYLOADS, ATTEMPTS, EXECUTIONS):
            yield from self._drop_partitions(table)
        for policy, part in product(found, (self._purge_payloads, self._purge_executions)):
            try:
                yield from part(policy)
            except (Stopped, DatabaseError) as reason:
                self._leave(policy.organization.slug, reason)

    def _purge_deleted(self) -> Iterator[Step]:
        """What organizations have left that are deleted: nothing refers to it any more."""
        for partition in [*partitions_of(EXECUTIONS), default_partition(EXECUTIONS)]:
            owners = partition.owners(partition.name)
            known = set(Organization.objects.filter(id__in=owners).values_list("id", flat=True))
            for owner in (each for each in owners if each not in known):
                try:
                    rows = self._delete_between(owner, partition.low, partition.high, EXECUTIONS)
                except (Stopped, DatabaseError) as reason:
                    self._leave(str(owner), reason)
                else:
                    yield Step(str(owner), f"executions in {partition.name}, as it is deleted", rows)

    def _is_closed(self, organization: Organization) -> bool:
        """Whether its ledger is written as far as it can be; where the database refuses, others need not wait."""
        try:
            close_ledger(organization)
        except DatabaseError as reason:
            self._leave(organization.slug, reason)
            return False
        return True

    def _leave(self, what: str, reason: Exception) -> None:
        why = f"{what}: {reason}"
        if why not in self.left:
            logger.warning("purge_left", what=what, reason=str(reason))
            self.left.append(why)

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
        for owner in owners:
            if partition.table == EXECUTIONS:
                self._give_up_days(owner, time_of(partition.low).date(), end)
                self._delete_scores(owner, partition.low, partition.high)
            else:
                _check_counted(owner, partition.low, partition.high)
        for attempt in range(1, _TRIES + 1):
            try:
                with transaction.atomic():
                    self._prepare(self.drop_timeout_ms)
                    for owner in sorted(owners):
                        self._still_due(owner, partition.table, end)
                        _move_mark(owner, partition.table, end)
                    drop(partition, owners)
            except OperationalError:
                if attempt == _TRIES:
                    raise
                time.sleep(self.pause_s * 2**attempt)
            else:
                return

    def _give_up_days(self, organization_id: UUID, start: date, end: date) -> None:
        """Have the ledger alone know of these days."""
        while (first := first_execution(organization_id, start)) is not None and (day := day_of(first.id)) < end:
            self._give_up(organization_id, day)
            start = day + ONE_DAY

    def _give_up(self, organization_id: UUID, day: date) -> None:
        """From now on the ledger alone knows of the executions of this day; raises Stopped when it does not yet."""
        if RetentionPolicy.objects.get(organization_id=organization_id).is_purged(day):
            return
        _check_counted(organization_id, *bounds(day, day + ONE_DAY))
        if not is_verified(organization_id, day):
            logger.error("ledger_differed", organization_id=str(organization_id), day=str(day))
            revise_days(Organization.objects.get(id=organization_id), [day])
        with transaction.atomic():
            self._prepare(self.lock_timeout_ms)
            self._still_due(organization_id, EXECUTIONS, day + ONE_DAY, is_giving_up=True)
            LedgerState.objects.select_for_update().get(organization_id=organization_id)
            if LedgerMark.objects.filter(organization_id=organization_id, day=day).exists():
                raise Stopped(f"{day} has just changed")
            if not is_verified(organization_id, day):
                raise Stopped(f"the ledger of {day} differs")
            _move_mark(organization_id, EXECUTIONS, day + ONE_DAY)

    def _purge_payloads(self, policy: RetentionPolicy) -> Iterator[Step]:
        end = self._dues[policy.organization_id].payloads_before
        start = policy.payloads_gone_before or date(1970, 1, 1)
        while end and (first := first_execution(policy.organization_id, start)) and (day := day_of(first.id)) < end:
            start = day + ONE_DAY
            if _has_payloads(*bounds(day, start)):
                _check_counted(policy.organization_id, *bounds(day, start))
                if rows := self._delete_day(policy, day, PAYLOADS):
                    yield Step(policy.organization.slug, f"payloads of {day}", rows)
            RetentionPolicy.objects.filter(id=policy.id).update(payloads_gone_before=start)

    def _purge_executions(self, policy: RetentionPolicy) -> Iterator[Step]:
        end = self._dues[policy.organization_id].executions_before
        start = date(1970, 1, 1)
        while end and (first := first_execution(policy.organization_id, start)) and (day := day_of(first.id)) < end:
            self._give_up(policy.organization_id, day)
            self._delete_scores(policy.organization_id, *bounds(day, day + ONE_DAY))
            yield Step(policy.organization.slug, f"executions of {day}", self._delete_day(policy, day, EXECUTIONS))
            start = day + ONE_DAY

    def _delete_day(self, policy: RetentionPolicy, day: date, table: str) -> int:
        end = day + ONE_DAY

        def check() -> None:
            self._still_due(policy.organization_id, table, end)
            _move_mark(policy.organization_id, table, end)

        return self._delete_between(policy.organization_id, *bounds(day, end), table, check)

    def _delete_between(
        self, organization_id: UUID, low: UUID, high: UUID, table: str, check: Callable[[], None] = lambda: None
    ) -> int:
        """In batches, each a transaction of its own that checks first; gives how many rows of the table went."""
        count, last = 0, UUID(int=max(low.int - 1, 0))
        while True:
            self._pause()
            with transaction.atomic():
                self._prepare(self.lock_timeout_ms)
                check()
                ids = _ended(organization_id, last, high, self.batch)
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
                self._prepare(self.lock_timeout_ms)
                self._still_due(organization_id, EXECUTIONS, time_of(high).date())
                ids = list(rows.order_by("execution_id", "id").values_list("id", flat=True)[: self.batch])
                Score.objects.filter(id__in=ids)._raw_delete(Score.objects.db)
            if len(ids) < self.batch:
                return

    def _prepare(self, lock_timeout_ms: int) -> None:
        """For the transaction: no long wait for a lock, and rollups keep what is deleted."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {lock_timeout_ms:d}; SET LOCAL everquant.rollups = 'off'")

    def _pause(self) -> None:
        if self.should_stop():
            raise Stopped("the process ends")
        time.sleep(self.pause_s)

    def _still_due(self, organization_id: UUID, table: str, end: date, *, is_giving_up: bool = False) -> None:
        """Locks the policy until the transaction ends; raises Stopped when days before `end` are due no more.

        Who gives up days waits for all that change costs of the organization, and they for it; a batch does not.
        """
        rows = RetentionPolicy.objects.select_for_update(no_key=not is_giving_up)
        policy = rows.filter(organization_id=organization_id).first()
        due = self._due(policy).of(table) if policy else None
        if due is None or due < end:
            raise Stopped("the policy has changed")


def _check_counted(organization_id: UUID, low: UUID, high: UUID) -> None:
    if has_pending(organization_id, low, high):
        raise Stopped(f"{time_of(low).date()} is not added up yet")


def _move_mark(organization_id: UUID, table: str, day: date) -> None:
    """Under the policy's lock; never back."""
    policy = RetentionPolicy.objects.get(organization_id=organization_id)
    names = ["payloads_purged_before", "purged_before"] if table == EXECUTIONS else ["payloads_purged_before"]
    moved = [name for name in names if (getattr(policy, name) or date.min) < day]
    for name in moved:
        setattr(policy, name, day)
    if moved:
        policy.save(update_fields=moved)


def _has_payloads(low: UUID, high: UUID) -> bool:
    """Whether anybody has any in this range, or attempts."""
    within = {"execution_id__gte": low, "execution_id__lt": high}
    return any(model.objects.filter(**within).exists() for model in (ExecutionPayload, ExecutionAttempt))


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
