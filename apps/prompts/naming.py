"""Slugs, tags and deletion of what is named as prompts are: unique among the living of an organization."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import IntegrityError
from django.utils.text import slugify

from apps.prompts.models import SLUG_LENGTH
from apps.prompts.promotion import check_departure
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest, Conflict


def slug_of(name: str) -> str:
    """A slug made of a name; raises BadRequest when nothing is left of it."""
    slug = slugify(name.replace("_", "-"))[:SLUG_LENGTH].strip("-")
    if not slug:
        raise BadRequest("A slug is needed.", details={"slug": "No slug can be made of the name; give one."})
    return slug


def copied_slug(slug: str) -> str:
    return f"{slug[: SLUG_LENGTH - 5].rstrip('-/')}-copy"


def copied_name(name: str) -> str:
    return f"{name[:193]} (copy)"


def unique_tags(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))


@contextmanager
def refusing_taken_slug(instance: Any) -> Iterator[None]:
    """Raises Conflict when another living one has the slug (the constraint `<table>_slug_unique`)."""
    try:
        yield
    except IntegrityError as error:
        if f"{instance._meta.db_table}_slug_unique" not in str(error):
            raise
        taken = f"Another {instance._meta.model_name} has this slug."
        raise Conflict(taken, details={"slug": taken}) from error


def save_with_slug(instance: Any, **options: Any) -> None:
    """`save`; raises Conflict when another living one has the slug."""
    with refusing_taken_slug(instance):
        instance.save(**options)


def change_fields(instance: Any, fields: dict[str, Any]) -> None:
    """Store those that differ. Raises Conflict when another living one has the slug, PromotionRefused.

    JSON that says the same with its keys in another order differs.
    """
    if "tags" in fields:
        fields = {**fields, "tags": unique_tags(fields["tags"])}
    different = {name: value for name, value in fields.items() if _differs(getattr(instance, name), value)}
    if "slug" in different:
        check_departure(instance)
    if different:
        for name, value in different.items():
            setattr(instance, name, value)
        save_with_slug(instance, update_fields=[*different, "updated_at"])


def _differs(before: Any, after: Any) -> bool:
    return dumps(before) != dumps(after) if isinstance(after, dict) else bool(before != after)


def take_away(instance: Any) -> None:
    """Mark as deleted; raises PromotionRefused."""
    check_departure(instance)
    instance.soft_delete()


def bring_back(instance: Any) -> None:
    """Undo its deletion. Raises Conflict when its slug was taken meanwhile."""
    if instance.is_deleted:
        instance.deleted_at = None
        save_with_slug(instance, update_fields=["deleted_at", "updated_at"])
