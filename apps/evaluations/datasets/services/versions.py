"""Versions of a dataset: each write makes exactly one, in the transaction that holds the dataset locked."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection
from django.db.models import Max

from apps.evaluations.datasets.items import MAX_ITEMS, NewItem, content_hash
from apps.evaluations.models import Dataset, DatasetItem, DatasetVersion
from apps.users.models import User
from apps.workflows.evaluating import ABSENT
from everquant.api.errors import BadRequest

BLOCK = 1_000
SMALL_BLOCK = 100
"""Items that are held at once with all they say: 100 of the largest are 25 MiB."""


def next_number(dataset: Dataset) -> int:
    return dataset.current_version.version_number + 1 if dataset.current_version else 1


def next_position(dataset: Dataset) -> int:
    """After every item that the dataset has ever had."""
    last = DatasetItem.objects.filter(dataset=dataset).aggregate(last=Max("position"))["last"]
    return 0 if last is None else int(last) + 1


def make_version(*, dataset: Dataset, change: int, message: str, created_by: User | None) -> DatasetVersion:
    """The next version, with so many items more (or fewer) than the current one. It becomes current.

    The dataset is locked, and its items are already those of the version. Raises BadRequest above MAX_ITEMS.
    """
    count = (dataset.current_version.item_count if dataset.current_version else 0) + change
    if count > MAX_ITEMS:
        raise BadRequest(f"A dataset has at most {MAX_ITEMS} items.", details={"items": f"{count} would be too many."})
    version: DatasetVersion = DatasetVersion.objects.create(
        organization_id=dataset.organization_id,
        dataset=dataset,
        version_number=next_number(dataset),
        item_count=count,
        input_schema=dataset.input_schema,
        expected_schema=dataset.expected_schema,
        message=message,
        created_by=created_by,
    )
    dataset.current_version = version
    dataset.save_fields("current_version")
    return version


def build_item(dataset: Dataset, new: NewItem, *, position: int, since: int) -> DatasetItem:
    return DatasetItem(
        organization_id=dataset.organization_id,
        dataset_id=dataset.pk,
        position=position,
        since=since,
        input=new.input,
        expected=None if new.expected is ABSENT else new.expected,
        has_expected=new.expected is not ABSENT,
        output=None if new.output is ABSENT else new.output,
        has_output=new.output is not ABSENT,
        metadata=dict(new.metadata),
        split=new.split,
        source_execution_id=new.source_execution_id,
        content_hash=content_hash(new),
    )


def content_of(item: DatasetItem) -> NewItem:
    return NewItem(
        input=item.input,
        expected=item.expected if item.has_expected else ABSENT,
        output=item.output if item.has_output else ABSENT,
        metadata=item.metadata,
        split=item.split,
        source_execution_id=item.source_execution_id,
    )


def insert_items(items: Sequence[DatasetItem]) -> None:
    DatasetItem.objects.bulk_create(items, batch_size=BLOCK)


def end_items(dataset: Dataset, ids: Iterable[UUID]) -> int:
    """They are in no later version; gives how many of them were in the current one."""
    current = DatasetItem.objects.filter(dataset=dataset, id__in=list(ids)).current()
    return int(current.update(until=next_number(dataset)))


def hashes_in(dataset: Dataset, hashes: Iterable[bytes]) -> set[bytes]:
    """Those that an item of the current version has."""
    wanted = list(set(hashes))
    found: set[bytes] = set()
    for start in range(0, len(wanted), BLOCK):
        same = DatasetItem.objects.filter(dataset=dataset, content_hash__in=wanted[start : start + BLOCK]).current()
        found |= {bytes(one) for one in same.values_list("content_hash", flat=True)}
    return found


def allow_long_statements() -> None:
    """Until the transaction ends: what is done to all items of a dataset at once may take minutes, not more."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10min'")
