"""Tasks and annotations: to be read. They are changed by those who annotate."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.evaluations.annotation.admin.showing import readable
from apps.evaluations.annotation.values import configs_of, named_values
from apps.evaluations.models import Annotation, AnnotationStatus, AnnotationTask
from apps.executions.admin import ReadOnlyAdmin
from apps.users.models import User
from apps.workflows.admin.showing import pretty

_COLOURS: dict[str, str] = {
    AnnotationStatus.OPEN: "info",
    AnnotationStatus.SUBMITTED: "success",
    AnnotationStatus.SKIPPED: "",
    AnnotationStatus.EXPIRED: "warning",
}


class _Readable:
    class Media:
        css = {"all": ["workflows/admin.css", "evaluations/annotate.css"]}


@admin.register(AnnotationTask)
class AnnotationTaskAdmin(_Readable, ReadOnlyAdmin):
    list_display = ["source_key", "queue", "organization", "position", "taken_count", "submitted_count", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["queue", "organization"]
    search_fields = ["source_key", "queue__name"]
    ordering = ["-id"]
    sortable_by: list[str] = []
    fieldsets = [
        (None, {"fields": ["id", "organization", "queue", "position", "source_key", "execution_id", "evaluation_id"]}),
        ("Snapshot", {"fields": ["shown_input", "shown_output", "shown_expected", "shown_context"]}),
        ("Annotations", {"fields": ["taken_count", "submitted_count", "created_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        resolved = request.resolver_match
        is_list = resolved is not None and resolved.url_name == "evaluations_annotationtask_changelist"
        return rows.defer("input", "output", "expected", "context") if is_list else rows

    @admin.display(description="input")
    def shown_input(self, task: AnnotationTask) -> SafeString:
        return readable(task.input)

    @admin.display(description="output")
    def shown_output(self, task: AnnotationTask) -> SafeString:
        return readable(task.output)

    @admin.display(description="expected")
    def shown_expected(self, task: AnnotationTask) -> SafeString | str:
        return readable(task.expected) if task.has_expected else "Nothing is expected."

    @admin.display(description="context")
    def shown_context(self, task: AnnotationTask) -> SafeString:
        return readable(task.context)


@admin.register(Annotation)
class AnnotationAdmin(_Readable, ReadOnlyAdmin):
    list_display = ["created_at", "queue", "organization", "annotator", "state", "submitted_at", "comment"]
    list_filter = ["status", "created_at"]
    list_select_related = ["queue", "organization"]
    search_fields = ["queue__name", "comment"]
    ordering = ["-id"]
    sortable_by: list[str] = []
    fields = [
        "id", "organization", "queue", "task", "annotator", "state", "said", "comment", "score_ids", "started_at",
        "submitted_at", "duration_ms", "claimed_until",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        email = User.objects.filter(id=OuterRef("annotator_id")).values("email")
        return super().get_queryset(request).annotate(annotator_email=Subquery(email))

    @admin.display
    def annotator(self, annotation: Any) -> str:
        return annotation.annotator_email or str(annotation.annotator_id)

    @display(description="status", label=_COLOURS)
    def state(self, annotation: Annotation) -> tuple[str, str]:
        return annotation.status, annotation.get_status_display()

    @admin.display(description="values")
    def said(self, annotation: Annotation) -> SafeString:
        return pretty(named_values(configs_of(annotation.queue), annotation.values))
