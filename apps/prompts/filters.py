from typing import Any

import django_filters

from apps.prompts.models import LABEL, Prompt, PromptQuerySet

_FLAG = (("true", "true"), ("false", "false"))


class FlagFilter(django_filters.TypedChoiceFilter):
    """`true` or `false`; anything else is a 400."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=_FLAG, coerce=lambda value: value == "true", **options)


class PromptFilter(django_filters.FilterSet):
    """`deleted=true` lists what was deleted, and only that."""

    type = django_filters.ChoiceFilter(choices=Prompt.Type.choices)
    tag = django_filters.CharFilter(field_name="tags", lookup_expr="contains", method="with_tag", max_length=50)
    folder = django_filters.CharFilter(method="in_folder", max_length=200)
    label = django_filters.CharFilter(field_name="label_set__name", max_length=64, validators=[LABEL])
    is_active = FlagFilter()
    model_id = django_filters.UUIDFilter(field_name="current_version__model_id")
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    deleted = FlagFilter(method="only_deleted")

    class Meta:
        model = Prompt
        fields: list[str] = []

    def with_tag(self, queryset: PromptQuerySet, name: str, value: str) -> Any:
        return queryset.filter(tags__contains=[value])

    def in_folder(self, queryset: PromptQuerySet, name: str, value: str) -> Any:
        return queryset.in_folder(value)

    def only_deleted(self, queryset: PromptQuerySet, name: str, value: Any) -> Any:
        return queryset.deleted() if value else queryset.alive()
