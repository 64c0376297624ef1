"""What an import keeps in the database while it is under way: the file in parts, and its rows in blocks."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

from django.db import connection

from apps.evaluations.datasets.items import NewItem, content_hash
from apps.evaluations.models import Dataset, DatasetImport, DatasetImportPart, DatasetImportRow
from apps.workflows.evaluating import ABSENT
from everquant.api.envelope import dumps
from everquant.db import uuid7

PART_BYTES = 1024 * 1024
Staged = tuple[Any, ...]
_ITEM_COLUMNS = "input, expected, has_expected, output, has_output, metadata, split, content_hash"
_COPY = f"COPY evaluations_datasetimportrow (dataset_import_id, number, item_id, {_ITEM_COLUMNS}) FROM STDIN"
_NEW = """
FROM evaluations_datasetimportrow staged WHERE dataset_import_id = %(import)s AND (%(keep)s OR (
    number IN (SELECT min(number) FROM evaluations_datasetimportrow WHERE dataset_import_id = %(import)s
        GROUP BY content_hash)
    AND NOT EXISTS (SELECT 1 FROM evaluations_datasetitem item WHERE item.dataset_id = %(dataset)s
        AND item.until IS NULL AND item.content_hash = staged.content_hash)))
"""
_INSERT = f"""
INSERT INTO evaluations_datasetitem (id, organization_id, dataset_id, position, since, until, {_ITEM_COLUMNS},
    source_execution_id, created_at)
SELECT item_id, %(organization)s, %(dataset)s, %(start)s + number - 1, %(since)s, NULL, {_ITEM_COLUMNS}, NULL, now()
{_NEW}
"""


def store_file(of: DatasetImport, file: Any) -> None:
    file.seek(0)
    number = 0
    while content := file.read(PART_BYTES):
        DatasetImportPart.objects.create(dataset_import=of, number=number, content=content)
        number += 1


class StoredFile(io.RawIOBase):
    """The file of an import, of which one part is in memory. `taken` counts the bytes that were read."""

    def __init__(self, of: DatasetImport) -> None:
        super().__init__()
        self._id = of.pk
        self._number = 0
        self._part = memoryview(b"")
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part:
            parts = DatasetImportPart.objects.filter(dataset_import_id=self._id, number=self._number)
            content = parts.values_list("content", flat=True).first()
            self._part = memoryview(bytes(content or b""))
            self._number += 1
        size = min(len(buffer), len(self._part))
        buffer[:size] = self._part[:size]
        self._part = self._part[size:]
        self.taken += size
        return size


def opened(file: StoredFile) -> BinaryIO:
    return io.BufferedReader(file, 64 * 1024)


def staged(of: DatasetImport, number: int, item: NewItem) -> Staged:
    """A row in the form that COPY takes."""
    return (
        of.pk,
        number,
        uuid7(),
        _text(item.input),
        _text(item.expected),
        item.expected is not ABSENT,
        _text(item.output),
        item.output is not ABSENT,
        dumps(item.metadata).decode(),
        item.split,
        content_hash(item),
    )


def _text(value: Any) -> str | None:
    """None for null too, as the fields of an item store it."""
    return None if value is ABSENT or value is None else dumps(value).decode()


def stage(rows: Sequence[Staged]) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row(row)


def count_new(of: DatasetImport, dataset: Dataset, *, keep_duplicates: bool) -> int:
    """How many of the staged rows would become items."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"import": of.pk, "dataset": dataset.pk, "keep": keep_duplicates}
        cursor.execute(f"SELECT count(*) {_NEW}", values)
        return int(cursor.fetchone()[0])


def make_items(of: DatasetImport, dataset: Dataset, *, start: int, since: int, keep_duplicates: bool) -> int:
    """Items of the staged rows, in the order of the file; how many."""
    values: dict[str, Any] = {
        "import": of.pk,
        "organization": dataset.organization_id,
        "dataset": dataset.pk,
        "start": start,
        "since": since,
        "keep": keep_duplicates,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        return int(cursor.rowcount)


def drop_rows(of: DatasetImport) -> None:
    DatasetImportRow.objects.filter(dataset_import=of)._raw_delete(DatasetImportRow.objects.db)


def drop_file(of: DatasetImport) -> None:
    DatasetImportPart.objects.filter(dataset_import=of)._raw_delete(DatasetImportPart.objects.db)
