from typing import Any

import django_filters

from apps.models.models import Capability, LLMModel, Provider, ProviderKind
from everquant.api.filters import TrueFalseFilter


class ProviderFilter(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=ProviderKind.choices)
    is_active = TrueFalseFilter()

    class Meta:
        model = Provider
        fields: list[str] = []


class ModelFilter(django_filters.FilterSet):
    provider_id = django_filters.UUIDFilter()
    capability = django_filters.ChoiceFilter(
        field_name="capabilities", lookup_expr="contains", choices=Capability.choices, method="with_capability"
    )
    is_active = TrueFalseFilter()
    is_default = TrueFalseFilter()

    class Meta:
        model = LLMModel
        fields: list[str] = []

    def with_capability(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(capabilities__contains=[value])
