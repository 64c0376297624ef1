from typing import Any

import django_filters

from apps.models.models import Capability, LLMModel, Provider, ProviderKind

_FLAG = (("true", "true"), ("false", "false"))


def _is_true(value: str) -> bool:
    return value == "true"


class ProviderFilter(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=ProviderKind.choices)
    is_active = django_filters.TypedChoiceFilter(choices=_FLAG, coerce=_is_true)

    class Meta:
        model = Provider
        fields: list[str] = []


class ModelFilter(django_filters.FilterSet):
    provider_id = django_filters.UUIDFilter()
    capability = django_filters.ChoiceFilter(
        field_name="capabilities", lookup_expr="contains", choices=Capability.choices, method="with_capability"
    )
    is_active = django_filters.TypedChoiceFilter(choices=_FLAG, coerce=_is_true)
    is_default = django_filters.TypedChoiceFilter(choices=_FLAG, coerce=_is_true)

    class Meta:
        model = LLMModel
        fields: list[str] = []

    def with_capability(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(capabilities__contains=[value])
