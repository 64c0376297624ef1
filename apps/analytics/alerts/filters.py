from typing import Any

import django_filters
from django.utils import timezone

from apps.analytics.models import Alert, AlertMetric, AlertState
from everquant.api.filters import TrueFalseFilter


class AlertFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=AlertState.choices, method="filter_state")
    metric = django_filters.ChoiceFilter(choices=AlertMetric.choices)
    is_active = TrueFalseFilter()
    is_muted = TrueFalseFilter(method="filter_muted")

    class Meta:
        model = Alert
        fields: list[str] = []

    def filter_state(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(firing_since__isnull=value == AlertState.OK)

    def filter_muted(self, queryset: Any, name: str, value: bool) -> Any:
        muted = {"muted_until__gt": timezone.now()}
        return queryset.filter(**muted) if value else queryset.exclude(**muted)
