"""Imports as they are asked for: small files are read at once, others by a worker."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.evaluations.datasets.importing import driver, staging
from apps.evaluations.models import TERMINAL_IMPORT, Dataset, DatasetImport, ImportStatus
from apps.users.models import User
from everquant.api.errors import BadRequest, Conflict
from everquant.db import lock_for_update

TASK = "datasets.import_file"
QUEUE = "datasets"
SMALL_BYTES = 1024 * 1024
AT_ONCE_S = 5.0
MAX_FILES = 20
FILES_KEPT = timedelta(days=1)


@transaction.atomic(savepoint=False)
def start_import(
    *,
    dataset: Dataset,
    file: Any,
    file_name: str,
    file_format: str,
    columns: Mapping[str, str | None] | None,
    on_error: str,
    on_duplicate: str,
    is_dry_run: bool,
    message: str,
    created_by: User | None,
) -> DatasetImport:
    """The import of a file into a locked dataset: finished if it was small and quick, else queued for a worker.

    Raises BadRequest with a place for each of the first problems (`rows.17.expected`, rows counted from 1) when a
    small file was refused, Conflict when the organization has too many files under way.
    """
    _refuse_too_many(dataset)
    made = DatasetImport(
        organization_id=dataset.organization_id,
        dataset=dataset,
        file_name=file_name[:255],
        format=file_format,
        columns=columns,
        on_error=on_error,
        on_duplicate=on_duplicate,
        is_dry_run=is_dry_run,
        message=message,
        created_by=created_by,
        total_bytes=file.size,
    )
    made.save(force_insert=True)
    staging.store_file(made, file)
    if file.size > SMALL_BYTES or not _is_done_at_once(made):
        enqueue(made)
    made.refresh_from_db()
    if made.status == ImportStatus.FAILED:
        raise _refusal(made)
    return made


def _is_done_at_once(made: DatasetImport) -> bool:
    taken = driver.take(made.pk)
    return taken is not None and driver.drive(taken, until=time.monotonic() + AT_ONCE_S)


def _refuse_too_many(dataset: Dataset) -> None:
    kept = DatasetImport.objects.for_organization(dataset.organization_id).filter(has_file=True)
    if kept.count() >= MAX_FILES:
        raise Conflict(f"{MAX_FILES} files of this organization are under way or were cancelled today: let them end.")


def _refusal(made: DatasetImport) -> BadRequest:
    details = {
        error["column"] if error["row"] is None else f"rows.{error['row']}.{error['column']}".rstrip("."): error[
            "message"
        ]
        for error in made.errors
    }
    return BadRequest(made.error_message, details=details or {"file": made.error_message})


def enqueue(queued: DatasetImport) -> None:
    """In the transaction that queues it. One import of an organization is worked at, the others wait."""
    lock = f"{TASK}.{queued.organization_id}"
    app.configure_task(TASK, queue=QUEUE, lock=lock).defer(import_id=str(queued.pk))


_WITHOUT_JOB = """
SELECT id, organization_id FROM evaluations_datasetimport found WHERE finished_at IS NULL AND NOT EXISTS (
    SELECT FROM procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing')
    AND args->>'import_id' = found.id::text)
"""


def call_missing_jobs() -> int:
    """Jobs for imports that have not ended and that none comes for, such as after its last retry; how many.

    The job of a killed worker still counts as under way, and is queued again by itself.
    """
    missing = list(DatasetImport.objects.raw(_WITHOUT_JOB, [TASK]))
    for found in missing:
        enqueue(found)
    return len(missing)


def work_at(import_id: str) -> None:
    """What the job does."""
    taken = driver.take(import_id)
    if taken is not None and not driver.drive(taken):
        enqueue(taken)


@transaction.atomic(savepoint=False)
def cancel_import(*, found: DatasetImport) -> DatasetImport:
    """At once: whoever works at it writes nothing any more. Its file is kept for FILES_KEPT. Raises Conflict."""
    locked: DatasetImport = lock_for_update(DatasetImport.objects.all(), pk=found.pk)
    if locked.is_finished:
        raise Conflict(f"The import has {locked.status} already.")
    locked.status, locked.finished_at, locked.fence = ImportStatus.CANCELLED, timezone.now(), locked.fence + 1
    locked.save_fields("status", "finished_at", "fence")
    return locked


@transaction.atomic(savepoint=False)
def resume_import(*, found: DatasetImport) -> DatasetImport:
    """Go on after the last block. Raises Conflict for one that has not ended, or whose file is gone."""
    locked: DatasetImport = lock_for_update(DatasetImport.objects.all(), pk=found.pk)
    if not locked.is_finished:
        raise Conflict("The import is under way.")
    if not locked.has_file:
        raise Conflict(f"The import has {locked.status}, and its file is gone.")
    locked.status, locked.finished_at = ImportStatus.QUEUED, None
    locked.error_code = locked.error_message = ""
    locked.save_fields("status", "finished_at", "error_code", "error_message")
    enqueue(locked)
    return locked


def drop_old_files() -> int:
    """Of imports that ended FILES_KEPT ago; how many."""
    ended = DatasetImport.objects.filter(
        has_file=True, status__in=TERMINAL_IMPORT, finished_at__lt=timezone.now() - FILES_KEPT
    )
    dropped = 0
    for found in ended.order_by("finished_at")[:MAX_FILES]:
        with transaction.atomic():
            staging.drop_rows(found)
            staging.drop_file(found)
            found.has_file = False
            found.save_fields("has_file")
        dropped += 1
    return dropped
