"""What the values of dimensions are called: one query for each dimension that has ids."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import CharField, Value
from django.db.models.functions import Concat

from apps.analytics.queries.measuring import Json
from apps.models.models import LLMModel, Provider
from apps.prompts.models import ABTest, Prompt, PromptVersion
from apps.users.models import ApiKey, Membership
from apps.users.principal import Principal
from apps.workflows.models import Workflow

Names = dict[str, dict[Any, str]]


def _prompts(by: Principal) -> Any:
    return Prompt.objects.for_organization(by.organization_id).values_list("id", "slug")


def _versions(by: Principal) -> Any:
    """Such as support/reply v3."""
    mine = PromptVersion.objects.for_organization(by.organization_id)
    called = Concat("prompt__slug", Value(" v"), "version_number", output_field=CharField())
    return mine.values_list("id", called)


def _models(by: Principal) -> Any:
    return LLMModel.objects.for_organization(by.organization_id).values_list("id", "slug")


def _providers(by: Principal) -> Any:
    return Provider.objects.for_organization(by.organization_id).values_list("id", "name")


def _workflows(by: Principal) -> Any:
    return Workflow.objects.for_organization(by.organization_id).values_list("id", "slug")


def _ab_tests(by: Principal) -> Any:
    return ABTest.objects.for_organization(by.organization_id).values_list("id", "name")


def _users(by: Principal) -> Any:
    """All members for those who may see them, else oneself."""
    mine = {} if by.can("users:manage") else {"user_id": by.user_id}
    members = Membership.objects.for_organization(by.organization_id).filter(**mine)
    return members.values_list("user_id", "user__email")


def _api_keys(by: Principal) -> Any:
    mine = {} if by.can("users:manage") else {"user_id": by.user_id}
    return ApiKey.objects.for_organization(by.organization_id).filter(**mine).values_list("id", "name")


_QUERIES: dict[str, tuple[Callable[[Principal], Any], str]] = {
    "prompt": (_prompts, "id"),
    "version": (_versions, "id"),
    "model": (_models, "id"),
    "provider": (_providers, "id"),
    "workflow": (_workflows, "id"),
    "ab_test": (_ab_tests, "id"),
    "user": (_users, "user_id"),
    "api_key": (_api_keys, "id"),
}


def names_of(by: Principal, dimensions: Sequence[str], keys: Iterable[Sequence[Any]]) -> Names:
    """Of each dimension with ids the names of those that occur in these keys and that the caller may see.

    What was deleted keeps its name; users and keys are named to those who may list them.
    """
    keys = list(keys)
    found: Names = {}
    for place, dimension in enumerate(dimensions):
        ids = {key[place] for key in keys if isinstance(key[place], UUID)}
        if dimension in _QUERIES and ids:
            query, column = _QUERIES[dimension]
            found[dimension] = dict(query(by).filter(**{f"{column}__in": ids}))
    return found


def group_of(dimensions: Sequence[str], key: Sequence[Any], names: Names) -> list[Json]:
    """The values of a group as they are answered: ids with their names, and null for executions without a value."""
    return [
        {
            "dimension": dimension,
            "value": None if value is None else str(value),
            "name": names.get(dimension, {}).get(value),
        }
        for dimension, value in zip(dimensions, key, strict=True)
    ]
