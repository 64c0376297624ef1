from typing import Any

import django_filters
from django.db.models import Q
from drf_spectacular.utils import extend_schema_field

from apps.prompts.filters import STORABLE, FolderFilter, LabelFilter, TagFilter
from apps.prompts.models import LABEL, LABEL_LENGTH, SLUG_LENGTH, TAG_LENGTH
from apps.workflows.models import (
    Approval,
    RunSource,
    RunStatus,
    StepStatus,
    Workflow,
    WorkflowQuerySet,
    WorkflowRun,
)
from everquant.api.filters import TimeFilter, TrueFalseFilter

PATH_LENGTH = 500
KIND_LENGTH = 16


def _text(longest: int, **options: Any) -> Any:
    schema = {"type": "string", "maxLength": longest, "pattern": STORABLE}
    return extend_schema_field(schema)(django_filters.CharFilter(max_length=longest, **options))


class WorkflowFilter(django_filters.FilterSet):
    """`deleted=true` lists what was deleted, and only that."""

    slug = _text(SLUG_LENGTH)
    tag = TagFilter(method="with_tag", max_length=TAG_LENGTH)
    folder = FolderFilter(method="in_folder", max_length=SLUG_LENGTH)
    label = LabelFilter(field_name="label_set__name", max_length=LABEL_LENGTH, validators=[LABEL])
    is_active = TrueFalseFilter()
    is_published = TrueFalseFilter(method="with_version")
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    deleted = TrueFalseFilter(method="only_deleted")

    class Meta:
        model = Workflow
        fields: list[str] = []

    def with_tag(self, queryset: WorkflowQuerySet, name: str, value: str) -> Any:
        return queryset.filter(tags__contains=[value])

    def in_folder(self, queryset: WorkflowQuerySet, name: str, value: str) -> Any:
        return queryset.in_folder(value)

    def with_version(self, queryset: WorkflowQuerySet, name: str, value: bool) -> Any:
        return queryset.filter(current_version__isnull=not value)

    def only_deleted(self, queryset: WorkflowQuerySet, name: str, value: Any) -> Any:
        return queryset.deleted() if value else queryset.alive()


class RunFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=RunStatus.choices)
    source = django_filters.ChoiceFilter(choices=RunSource.choices)
    workflow_id = django_filters.UUIDFilter()
    version_id = django_filters.UUIDFilter()
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    api_key_id = django_filters.UUIDFilter()
    schedule_id = django_filters.UUIDFilter()
    trigger_id = django_filters.UUIDFilter()
    origin_id = django_filters.UUIDFilter()
    error_code = _text(40)
    created_after = TimeFilter(field_name="created_at", lookup_expr="gte", label="At this time or later.")
    created_before = TimeFilter(field_name="created_at", lookup_expr="lt", label="Before this time.")

    class Meta:
        model = WorkflowRun
        fields: list[str] = []


class StepFilter(django_filters.FilterSet):
    """Names no model: the view that it is of has runs in its path."""

    status = django_filters.ChoiceFilter(choices=StepStatus.choices)
    kind = _text(KIND_LENGTH)
    node_id = _text(64)
    path = _text(
        PATH_LENGTH, method="under", label="This path, and all that lies in it: `summaries` or `summaries[3]`."
    )

    def under(self, queryset: Any, name: str, value: str) -> Any:
        inside = Q(path__startswith=f"{value}.") | Q(path__startswith=f"{value}[")
        return queryset.filter(Q(path=value) | inside) if value else queryset


class ApprovalFilter(django_filters.FilterSet):
    """What is not about everybody's pending ones is in the view, see `ApprovalViewSet`."""

    run_id = django_filters.UUIDFilter()
    workflow_id = django_filters.UUIDFilter(field_name="run__workflow_id")
    expires_before = TimeFilter(field_name="expires_at", lookup_expr="lt")

    class Meta:
        model = Approval
        fields: list[str] = []
