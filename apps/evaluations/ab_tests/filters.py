"""Which A/B tests a list shows."""

import django_filters

from apps.prompts.models import ABTest, ABTestStatus


class ABTestFilter(django_filters.FilterSet):
    prompt_id = django_filters.UUIDFilter()
    status = django_filters.ChoiceFilter(choices=ABTestStatus.choices)
    mode = django_filters.ChoiceFilter(choices=ABTest.Mode.choices)

    class Meta:
        model = ABTest
        fields: list[str] = []
