"""Which evaluations a list shows."""

from typing import Any

import django_filters
from django.db.models import Exists, OuterRef

from apps.evaluations.models import Evaluation, EvaluationMetric, EvaluationStatus, EvaluationSubject
from everquant.api.filters import TimeFilter


class EvaluationFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=EvaluationStatus.choices)
    dataset_id = django_filters.UUIDFilter(field_name="dataset_version__dataset_id")
    dataset_version_id = django_filters.UUIDFilter()
    prompt_id = django_filters.UUIDFilter(method="with_subject")
    workflow_id = django_filters.UUIDFilter(method="with_subject")
    evaluator_id = django_filters.UUIDFilter(method="with_evaluator")
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    created_after = TimeFilter(field_name="created_at", lookup_expr="gte", label="At this time or later.")
    created_before = TimeFilter(field_name="created_at", lookup_expr="lt", label="Before this time.")

    class Meta:
        model = Evaluation
        fields: list[str] = []

    def with_subject(self, queryset: Any, name: str, value: Any) -> Any:
        return queryset.filter(Exists(EvaluationSubject.objects.filter(evaluation=OuterRef("id"), **{name: value})))

    def with_evaluator(self, queryset: Any, name: str, value: Any) -> Any:
        metrics = EvaluationMetric.objects.filter(evaluation=OuterRef("id"), evaluator_version__evaluator=value)
        return queryset.filter(Exists(metrics))
