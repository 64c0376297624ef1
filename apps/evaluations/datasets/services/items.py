"""Items come and go by versions. Every dataset given here is locked by the caller."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from apps.evaluations.datasets.items import ItemChecker, NewItem, content_hash, said_of
from apps.evaluations.datasets.services.versions import (
    BLOCK,
    allow_long_statements,
    build_item,
    content_of,
    end_items,
    hashes_in,
    insert_items,
    make_version,
    next_number,
    next_position,
)
from apps.evaluations.models import Dataset, DatasetItem, DatasetVersion, OnDuplicate
from apps.users.models import User
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest, Conflict
from everquant.db import uuid7

_HASH_BITS = 53
MAX_DETAILS = 100


@dataclass(frozen=True, slots=True)
class Written:
    """What a write has come to. `version` is the current one, whether it is new or nothing was to be changed."""

    version: DatasetVersion | None
    item_count: int
    duplicate_count: int = 0


def check_items(dataset: Dataset, items: Sequence[NewItem], *, at: str = "items") -> None:
    """Raises BadRequest naming up to MAX_DETAILS places: `items.17.input.question`."""
    checker = ItemChecker(dataset.input_schema, dataset.expected_schema, seconds=settings.WRITE_TIMEOUT)
    details: dict[str, str] = {}
    for number, item in enumerate(items):
        details |= {f"{at}.{number}.{path}": why for path, why in checker.problems(item)}
        if len(details) >= MAX_DETAILS:
            break
    if details:
        raise BadRequest("The items do not fit the schemas of the dataset.", details=details)


@transaction.atomic(savepoint=False)
def add_items(
    *, dataset: Dataset, items: Sequence[NewItem], on_duplicate: OnDuplicate, message: str, created_by: User | None
) -> Written:
    """At the end, in their order. Raises BadRequest for items that do not fit the schemas, or too many of them."""
    check_items(dataset, items)
    chosen = _without_duplicates(dataset, items) if on_duplicate == OnDuplicate.SKIP else list(items)
    duplicates = len(items) - len(chosen)
    if not chosen:
        return Written(dataset.current_version, 0, duplicates)
    start, since = next_position(dataset), next_number(dataset)
    insert_items([build_item(dataset, new, position=start + n, since=since) for n, new in enumerate(chosen)])
    version = make_version(dataset=dataset, change=len(chosen), message=message, created_by=created_by)
    return Written(version, len(chosen), duplicates)


def _without_duplicates(dataset: Dataset, items: Sequence[NewItem]) -> list[NewItem]:
    hashes = [content_hash(item) for item in items]
    known = hashes_in(dataset, hashes)
    chosen = []
    for item, one in zip(items, hashes, strict=True):
        if one not in known:
            known.add(one)
            chosen.append(item)
    return chosen


def require_current(item: DatasetItem) -> None:
    if item.until is not None:
        raise Conflict("This item is not in the newest version any more: it was changed or deleted.")


@transaction.atomic(savepoint=False)
def replace_item(*, dataset: Dataset, item: DatasetItem, new: NewItem, created_by: User | None) -> DatasetItem:
    """Another item at the same position; the same one when it says nothing else.

    Raises Conflict for one that is not in the current version any more, BadRequest when it does not fit the schemas.
    """
    require_current(item)
    new = replace(new, source_execution_id=item.source_execution_id)
    if dumps(said_of(content_of(item))) == dumps(said_of(new)):
        return item
    check_items(dataset, [new])
    end_items(dataset, [item.pk])
    other = build_item(dataset, new, position=item.position, since=next_number(dataset))
    insert_items([other])
    make_version(dataset=dataset, change=0, message="Changed an item", created_by=created_by)
    return other


@transaction.atomic(savepoint=False)
def delete_items(*, dataset: Dataset, ids: Sequence[UUID], message: str, created_by: User | None) -> Written:
    """Those of the current version; ids of others count as gone already."""
    count = end_items(dataset, ids)
    if not count:
        return Written(dataset.current_version, 0)
    version = make_version(dataset=dataset, change=-count, message=message, created_by=created_by)
    return Written(version, count)


def split_of(content: bytes, seed: str, shares: Mapping[str, float]) -> str:
    """The split of an item: SHA-256 of the seed and its content hash, the first 53 bits as a number in [0, 1)."""
    digest = sha256(seed.encode() + b":" + content).digest()
    drawn = (int.from_bytes(digest[:8], "big") >> (64 - _HASH_BITS)) / 2**_HASH_BITS
    total = sum(shares.values())
    ends = itertools.accumulate(share / total for share in shares.values())
    return next((name for name, end in zip(shares, ends, strict=True) if drawn < end), list(shares)[-1])


_MOVE = """
INSERT INTO evaluations_datasetitem (id, organization_id, dataset_id, position, since, until, input, expected,
    has_expected, output, has_output, metadata, split, content_hash, source_execution_id, created_at)
SELECT moved.new_id, organization_id, dataset_id, position, %s, NULL, input, expected, has_expected, output, has_output,
    metadata, moved.new_split, content_hash, source_execution_id, now()
FROM evaluations_moved moved JOIN evaluations_datasetitem item ON item.id = moved.old_id
"""


@transaction.atomic(savepoint=False)
def assign_splits(
    *, dataset: Dataset, shares: Mapping[str, float], seed: str, message: str, created_by: User | None
) -> Written:
    """Give every item the split that its content and the seed say; those that have it already stay as they are.

    The same item gets the same split however many others there are, so that shares hold about, not exactly.
    """
    allow_long_statements()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE evaluations_moved (old_id uuid, new_id uuid, new_split varchar) ON COMMIT DROP"
        )
        count = _stage_moves(cursor, dataset, shares, seed)
        if count:
            end = "UPDATE evaluations_datasetitem SET until = %s WHERE id IN (SELECT old_id FROM evaluations_moved)"
            cursor.execute(_MOVE, [next_number(dataset)])
            cursor.execute(end, [next_number(dataset)])
        cursor.execute("DROP TABLE evaluations_moved")
    if not count:
        return Written(dataset.current_version, 0)
    version = make_version(dataset=dataset, change=0, message=message, created_by=created_by)
    return Written(version, count)


def _stage_moves(cursor: Any, dataset: Dataset, shares: Mapping[str, float], seed: str) -> int:
    items = DatasetItem.objects.filter(dataset=dataset).current().order_by("position", "id")
    rows = items.values_list("id", "content_hash", "split").iterator(chunk_size=BLOCK)
    count = 0
    while block := list(itertools.islice(rows, BLOCK)):
        wanted = [(item_id, split_of(bytes(content), seed, shares), split) for item_id, content, split in block]
        moves = [(item_id, uuid7(), to) for item_id, to, split in wanted if to != split]
        with cursor.copy("COPY evaluations_moved FROM STDIN") as copy:
            for move in moves:
                copy.write_row(move)
        count += len(moves)
    return count
