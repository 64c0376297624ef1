"""Datasets as a whole: made without items, edited, deleted and brought back.

Services of datasets make no savepoint: an error that they raise ends the caller's transaction.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.evaluations.datasets.items import ItemChecker
from apps.evaluations.datasets.services.versions import SMALL_BLOCK, content_of, make_version
from apps.evaluations.models import Dataset, DatasetItem
from apps.prompts.naming import bring_back, change_fields, save_with_slug, slug_of, unique_tags
from apps.prompts.rendering import PromptError
from apps.prompts.rendering.schema import check_bounded_schema
from apps.users.models import User
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest

SCHEMAS = ("input_schema", "expected_schema")
MAX_TOLD = 20


@transaction.atomic(savepoint=False)
def create_dataset(
    *,
    organization_id: UUID,
    name: str,
    created_by: User | None,
    slug: str | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    input_schema: Any = None,
    expected_schema: Any = None,
) -> Dataset:
    """A dataset without items and without a version. Without a slug it is made of the name.

    Raises BadRequest for a schema that is not one, or when no slug can be made, Conflict when a living one has it.
    """
    check_schemas({"input_schema": input_schema, "expected_schema": expected_schema})
    dataset = Dataset(
        organization_id=organization_id,
        slug=slug or slug_of(name),
        name=name,
        description=description,
        tags=unique_tags(tags),
        input_schema=input_schema,
        expected_schema=expected_schema,
        created_by=created_by,
    )
    save_with_slug(dataset, force_insert=True)
    return dataset


@transaction.atomic(savepoint=False)
def update_dataset(*, dataset: Dataset, fields: dict[str, Any], updated_by: User | None) -> Dataset:
    """Set slug, name, description, tags and schemas in place, of a locked dataset.

    Other schemas are held against every current item and make a version, if there is one already. Raises Conflict for
    a slug that is taken, BadRequest naming the first items that do not fit.
    """
    given = {name: fields[name] for name in SCHEMAS if name in fields}
    other = {name: schema for name, schema in given.items() if dumps(getattr(dataset, name)) != dumps(schema)}
    check_schemas(other)
    change_fields(dataset, {name: value for name, value in fields.items() if name not in SCHEMAS or name in other})
    if other and dataset.current_version is not None:
        check_current_items(dataset)
        make_version(dataset=dataset, change=0, message="Other schemas", created_by=updated_by)
    return dataset


def check_schemas(schemas: dict[str, Any]) -> None:
    """Raises BadRequest naming the place within the schema."""
    for name, schema in schemas.items():
        if schema is None:
            continue
        try:
            check_bounded_schema(schema)
        except PromptError as error:
            details = {path.replace("variables_schema", name, 1): why for path, why in error.details.items()}
            raise BadRequest(error.message, details=details) from error


def check_current_items(dataset: Dataset) -> None:
    """Raises BadRequest with a place for each of the first items that do not fit: `items.17.input.question`.

    Items count from 0 in their order.
    """
    checker = ItemChecker(dataset.input_schema, dataset.expected_schema, seconds=settings.WRITE_TIMEOUT)
    if not checker.checks_anything:
        return
    details: dict[str, str] = {}
    items = DatasetItem.objects.filter(dataset=dataset).current().order_by("position", "id")
    for number, item in enumerate(items.iterator(chunk_size=SMALL_BLOCK)):
        details |= {f"items.{number}.{path}": why for path, why in checker.problems(content_of(item))}
        if len(details) >= MAX_TOLD:
            break
    if details:
        raise BadRequest("Items of the dataset do not fit the schemas.", details=details)


@transaction.atomic(savepoint=False)
def delete_dataset(*, dataset: Dataset) -> None:
    """Take a dataset out of sight; its slug is free again. Evaluations of it stay, with their items."""
    dataset.soft_delete()


@transaction.atomic(savepoint=False)
def undelete_dataset(*, dataset: Dataset) -> Dataset:
    """Bring a deleted dataset back as it was. Raises Conflict when its slug was taken meanwhile."""
    bring_back(dataset)
    return dataset
