from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema_field

from apps.prompts.models import LABEL, LABEL_LENGTH, LABEL_PATTERN, SLUG_LENGTH, TAG_LENGTH, Prompt, PromptQuerySet
from everquant.api.filters import TrueFalseFilter

STORABLE = "^[^\\u0000]*$"


@extend_schema_field({"type": "string", "maxLength": TAG_LENGTH, "pattern": STORABLE})
class TagFilter(django_filters.CharFilter):
    pass


@extend_schema_field({"type": "string", "maxLength": SLUG_LENGTH, "pattern": STORABLE})
class FolderFilter(django_filters.CharFilter):
    pass


@extend_schema_field({"type": "string", "maxLength": LABEL_LENGTH, "pattern": f"^({LABEL_PATTERN})?$"})
class LabelFilter(django_filters.CharFilter):
    pass


class PromptFilter(django_filters.FilterSet):
    """`deleted=true` lists what was deleted, and only that."""

    type = django_filters.ChoiceFilter(choices=Prompt.Type.choices)
    tag = TagFilter(method="with_tag", max_length=TAG_LENGTH)
    folder = FolderFilter(method="in_folder", max_length=SLUG_LENGTH)
    label = LabelFilter(field_name="label_set__name", max_length=LABEL_LENGTH, validators=[LABEL])
    is_active = TrueFalseFilter()
    model_id = django_filters.UUIDFilter(field_name="current_version__model_id")
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    deleted = TrueFalseFilter(method="only_deleted")

    class Meta:
        model = Prompt
        fields: list[str] = []

    def with_tag(self, queryset: PromptQuerySet, name: str, value: str) -> Any:
        return queryset.filter(tags__contains=[value])

    def in_folder(self, queryset: PromptQuerySet, name: str, value: str) -> Any:
        return queryset.in_folder(value)

    def only_deleted(self, queryset: PromptQuerySet, name: str, value: Any) -> Any:
        return queryset.deleted() if value else queryset.alive()
