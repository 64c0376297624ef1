"""Providers and tags in terms of the models and prompts that have them now."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import UUID

from apps.models.models import LLMModel
from apps.prompts.models import Prompt

# What stands for each in cubes.
_STANDS_FOR = {"provider": "model", "tag": "prompt"}
Values = dict[Any, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Resolution:
    """Filters and groups by dimensions of cubes alone; `values` are those of a derived group's place by the other's."""

    filters: dict[str, tuple[Any, ...]]
    group_by: tuple[str, ...]
    values: dict[int, Values]

    def keys_of(self, physical: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """The keys that a group of the cube counts for: several, where a prompt has several tags."""
        if not self.values:
            return iter((physical,))
        choices: Iterable[tuple[Any, ...]] = (
            self.values[place].get(value, (None,)) if place in self.values else (value,)
            for place, value in enumerate(physical)
        )
        return product(*choices)


def resolve(
    organization_id: UUID | None, filters: Mapping[str, tuple[Any, ...]], group_by: tuple[str, ...]
) -> Resolution | None:
    """None when no execution can match."""
    found = {name: values for name, values in filters.items() if name not in _STANDS_FOR}
    derived = {name: _values(name, organization_id) for name in _STANDS_FOR if name in filters or name in group_by}
    for name, other in _STANDS_FOR.items():
        if name in filters:
            matching = _matching(derived[name], filters[name])
            found[other] = tuple(matching.intersection(found[other])) if other in found else tuple(matching)
    if not all(found.values()):
        return None
    values = {place: derived[name] for place, name in enumerate(group_by) if name in derived}
    return Resolution(found, tuple(_STANDS_FOR.get(name, name) for name in group_by), values)


def _values(name: str, organization_id: UUID | None) -> Values:
    """Of each model its provider, of each prompt its tags; (None,) is of executions without a model or prompt."""
    rows: Any = LLMModel.objects.all() if name == "provider" else Prompt.objects.all()
    if organization_id is not None:
        rows = rows.for_organization(organization_id)
    if name == "provider":
        return {None: (None,), **{key: (value,) for key, value in rows.values_list("id", "provider_id")}}
    return {None: (None,), **{key: tuple(tags) or (None,) for key, tags in rows.values_list("id", "tags")}}


def _matching(values: Values, wanted: tuple[Any, ...]) -> set[Any]:
    return {key for key, own in values.items() if not set(wanted).isdisjoint(own)}
