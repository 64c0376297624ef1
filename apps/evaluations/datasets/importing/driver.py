"""From a stored file to a version, in steps that can each be the last: a killed import goes on after its last block."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from apps.evaluations.datasets.importing import staging
from apps.evaluations.datasets.items import InvalidItem, ItemChecker, NewItem, Problem, parse_item
from apps.evaluations.datasets.reading import InvalidFile, Row, Rows, read_rows
from apps.evaluations.datasets.services.versions import (
    allow_long_statements,
    make_version,
    next_number,
    next_position,
)
from apps.evaluations.models import Dataset, DatasetImport, ImportStatus, OnDuplicate, OnError
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest
from everquant.db import DATABASE_AWAY, lock_for_update
from everquant.workers import STOPPING

logger = structlog.get_logger(__name__)

BLOCK = 1_000
BLOCK_S = 2.0
MAX_ERRORS = 100
MAX_MESSAGE = 300
BLOCK_BYTES = 8 * 1024 * 1024


class NotOurs(Exception):
    """It was cancelled, or another worker has taken it."""


def take(import_id: Any) -> DatasetImport | None:
    """The import, running from now on under a new fence. None when it has ended, or is there no more."""
    with transaction.atomic():
        live = DatasetImport.objects.exclude(finished_at__isnull=False).select_for_update()
        found: DatasetImport | None = live.filter(id=import_id).first()
        if found is None:
            return None
        found.status, found.fence = ImportStatus.RUNNING, found.fence + 1
        found.started_at = found.started_at or timezone.now()
        found.save_fields("status", "fence", "started_at")
    return found


def drive(taken: DatasetImport, *, until: float | None = None) -> bool:
    """Work at it to its end. False when there is no time left (`until`, of the monotonic clock) or the process ends:
    then it is queued again, and the caller sees that somebody comes for it."""
    try:
        while True:
            if not _read(taken, until):
                return False
            if _finish(taken):
                return True
            _begin_anew(taken)
    except InvalidFile as error:
        told = {"row": None, "column": storable(error.field), "message": storable(error.message)}
        _fail(taken, "INVALID_FILE", error.message, errors=[told, *taken.errors][:MAX_ERRORS])
    except NotOurs:
        logger.info("import_left", import_id=str(taken.pk))
    except DATABASE_AWAY:
        raise
    except Exception:
        logger.exception("import_failed", import_id=str(taken.pk))
        _fail(taken, "INTERNAL_ERROR", "The import failed; it has been logged. It can be resumed.", keeps_file=True)
    return True


def _read(taken: DatasetImport, until: float | None) -> bool:
    """Stage the rows that were not read yet. False when there was no time for all of them."""
    _pin_schemas(taken)
    checker = ItemChecker(taken.input_schema, taken.expected_schema)
    file = staging.StoredFile(taken)
    rows = read_rows(staging.opened(file), taken.format, taken.columns)
    unread = itertools.islice(rows, taken.row_count, None)
    checked = enumerate((_checked(row, checker, rows) for row in unread), taken.row_count + 1)
    while True:
        is_last = _read_block(taken, checked, file)
        if is_last:
            return True
        if STOPPING.is_set() or (until is not None and time.monotonic() > until):
            _write(taken, status=ImportStatus.QUEUED)
            return False


def _pin_schemas(taken: DatasetImport) -> None:
    if taken.row_count == 0:
        dataset = Dataset.objects.get(pk=taken.dataset_id)
        _write(taken, input_schema=dataset.input_schema, expected_schema=dataset.expected_schema)


def _read_block(
    taken: DatasetImport, rows: Iterator[tuple[int, NewItem | list[Problem]]], file: staging.StoredFile
) -> bool:
    """One block, staged in one transaction with the progress. True when the file has ended."""
    good: list[staging.Staged] = []
    errors: list[dict[str, Any]] = []
    room = MAX_ERRORS - len(taken.errors)
    bad = number = 0
    begun = time.monotonic()
    for number, item in itertools.islice(rows, BLOCK):
        if isinstance(item, NewItem):
            good.append(staging.staged(taken, number, item))
        else:
            bad += 1
            told = item[: room - len(errors)]
            errors += [{"row": number, "column": storable(path), "message": storable(why)} for path, why in told]
        if time.monotonic() - begun > BLOCK_S or file.taken - taken.read_bytes > BLOCK_BYTES:
            break
    has_ended = number == 0
    with transaction.atomic():
        _write(
            taken,
            row_count=number or taken.row_count,
            read_bytes=taken.total_bytes if has_ended else file.taken,
            error_count=taken.error_count + bad,
            errors=taken.errors + errors,
        )
        if good:
            staging.stage(good)
    return has_ended


def storable(text: str) -> str:
    """Text out of a file as a message may have it."""
    return text[:MAX_MESSAGE].replace("\x00", "").encode(errors="replace").decode()


def _checked(row: Row, checker: ItemChecker, file: Rows) -> NewItem | list[Problem]:
    """The item that a row says, or its problems by the names of the file."""
    if isinstance(row, list):
        return row
    try:
        item = parse_item(row)
        problems = checker.problems(item)
    except InvalidItem as error:
        problems = error.problems
    return [(file.column(path), why) for path, why in problems] or item


def _write(taken: DatasetImport, **changes: Any) -> None:
    """Raises NotOurs, with nothing written, when it is no longer this process's."""
    ours = DatasetImport.objects.filter(pk=taken.pk, fence=taken.fence, status=ImportStatus.RUNNING)
    if not ours.update(**changes, updated_at=timezone.now()):
        raise NotOurs
    for name, value in changes.items():
        setattr(taken, name, value)


def _finish(taken: DatasetImport) -> bool:
    """Make the version. False when the schemas were changed meanwhile, so that all rows are to be checked anew."""
    if taken.error_count and taken.on_error == OnError.REFUSE and not taken.is_dry_run:
        rows = "1 row is" if taken.error_count == 1 else f"{taken.error_count} rows are"
        _fail(taken, "INVALID_ROWS", f"{rows} not valid: nothing was imported.")
        return True
    try:
        with transaction.atomic():
            return _make_version(taken)
    except BadRequest as error:
        _fail(taken, "TOO_MANY_ITEMS", error.message)
        return True


def _make_version(taken: DatasetImport) -> bool:
    allow_long_statements()
    dataset: Dataset = lock_for_update(Dataset.objects.all(), pk=taken.dataset_id)
    if dataset.is_deleted:
        _fail(taken, "DATASET_DELETED", "The dataset was deleted meanwhile.", keeps_file=True)
        return True
    if any(
        dumps(getattr(dataset, name)) != dumps(getattr(taken, name)) for name in ("input_schema", "expected_schema")
    ):
        return False
    keeps = taken.on_duplicate == OnDuplicate.KEEP
    version = None
    if taken.is_dry_run:
        count = staging.count_new(taken, dataset, keep_duplicates=keeps)
    else:
        start, since = next_position(dataset), next_number(dataset)
        count = staging.make_items(taken, dataset, start=start, since=since, keep_duplicates=keeps)
        message = taken.message or f"Imported {taken.file_name}"[:500]
        if count:
            version = make_version(dataset=dataset, change=count, message=message, created_by=taken.created_by)
    _end(
        taken,
        ImportStatus.SUCCEEDED,
        version=version,
        item_count=count,
        duplicate_count=taken.row_count - taken.error_count - count,
    )
    return True


def _begin_anew(taken: DatasetImport) -> None:
    with transaction.atomic():
        _write(taken, row_count=0, read_bytes=0, error_count=0, errors=[])
        staging.drop_rows(taken)


def _fail(taken: DatasetImport, code: str, message: str, *, keeps_file: bool = False, **changes: Any) -> None:
    try:
        _end(
            taken, ImportStatus.FAILED, error_code=code, error_message=storable(message), has_file=keeps_file, **changes
        )
    except NotOurs:
        logger.info("import_left", import_id=str(taken.pk))


def _end(taken: DatasetImport, status: ImportStatus, *, has_file: bool = False, **changes: Any) -> None:
    with transaction.atomic():
        _write(taken, status=status, has_file=has_file, finished_at=timezone.now(), **changes)
        if not has_file:
            staging.drop_rows(taken)
            staging.drop_file(taken)
