"""The collector: takes what waits out of the outbox and adds it to the sums, each row in one transaction and so once.

Whoever adds to a test's sums, or takes from them, has locked the test's row first; so the order of locks is one for
all. Assignments go on meanwhile: the lock leaves the row's key free.
"""

from typing import Any
from uuid import UUID

from django.db import connection, transaction

from apps.evaluations.ab_tests.folding import fold
from apps.evaluations.ab_tests.happenings import Frame, read_pending
from apps.evaluations.models import ABPending
from apps.prompts.models import ABTest

AT_ONCE = 2000
# In a pass; then others have their turn, and what is known so far is looked at.
MOST_CHUNKS = 25

_WAITING = "SELECT id, kind, ref_id FROM evaluations_abpending WHERE test_id = %s AND id > %s ORDER BY id LIMIT %s"


def collect(test: ABTest) -> int:
    """Add up all that waits for this test, and give how many rows that were. Waits for whoever does it now.

    A score of an execution that still runs goes on waiting. In a caller's transaction it is part of that one.
    """
    return _collect(test.id) or 0


def try_to_collect(test_id: UUID) -> int | None:
    """The same, of MOST_CHUNKS of AT_ONCE rows at most; None when somebody else does it now."""
    return _collect(test_id, most_chunks=MOST_CHUNKS, skip_locked=True)


def _collect(test_id: UUID, *, most_chunks: int | None = None, skip_locked: bool = False) -> int | None:
    folded, last, chunks = 0, 0, 0
    while most_chunks is None or chunks < most_chunks:
        with transaction.atomic():
            test = lock_for_sums(test_id, skip_locked=skip_locked)
            if test is None:
                return folded if chunks else None
            pending = _pending_after(test_id, last)
            if pending:
                last = pending[-1][0]
                folded += _fold_pending(test, pending)
        if len(pending) < AT_ONCE:
            break
        chunks += 1
    return folded


def lock_for_sums(test_id: UUID, *, skip_locked: bool = False) -> ABTest | None:
    """The test as it is now, locked until the transaction ends; None when it is gone, or another's."""
    found: ABTest | None = (
        ABTest.objects.select_for_update(of=("self",), no_key=True, skip_locked=skip_locked).filter(id=test_id).first()
    )
    return found


def _pending_after(test_id: UUID, last: int) -> list[tuple[int, str, UUID]]:
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [test_id, last, AT_ONCE])
        return list(cursor.fetchall())


def _fold_pending(test: ABTest, pending: list[tuple[int, str, UUID]]) -> int:
    """Gives how many of the waiting rows need wait no longer; some tell of nothing that counts, or of what is gone."""
    frame = Frame.of(test)
    rows = read_pending(test.id, pending)
    waiting = {(row.kind, row.ref_id) for row in rows if row.must_wait}
    fold(frame, (found for row in rows if not row.must_wait and (found := frame.happening(row)) is not None))
    done = [row[0] for row in pending if (row[1], row[2]) not in waiting]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM evaluations_abpending WHERE id = ANY(%s)", [done])
    return len(done)


def waiting_tests() -> set[UUID]:
    """Those that something waits for."""
    waiting: Any = ABPending.objects.order_by().values_list("test_id", flat=True).distinct()
    return set(waiting)


def running_tests() -> set[UUID]:
    running: Any = ABTest.objects.running().order_by().values_list("id", flat=True)
    return set(running)


def forget_pending(test_id: UUID) -> None:
    """Of a test that is no more."""
    ABPending.objects.filter(test_id=test_id).delete()
