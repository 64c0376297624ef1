"""Queues, and the page on which their tasks are done."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from apps.evaluations.annotation.admin.page import annotate
from apps.evaluations.models import AnnotationCriterion, AnnotationQueue


class CriterionInline(TabularInline):
    model = AnnotationCriterion
    fields = ["position", "score_config"]
    readonly_fields = fields
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AnnotationQueue)
class AnnotationQueueAdmin(ModelAdmin):
    """Queues are made through the API, which knows the members and score configs of an organization."""

    list_display = ["name", "organization", "progress", "annotations_per_task", "is_active", "is_gone", "annotate_link"]
    list_filter = ["is_active", ("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization"]
    search_fields = ["name", "instructions", "organization__name"]
    ordering = ["-created_at", "-id"]
    fields = [
        "id", "organization", "annotate_link", "name", "instructions", "annotations_per_task", "is_active", "assignees",
        "created_by", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    readonly_fields = [
        "id", "organization", "annotate_link", "assignees", "created_by", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    inlines = [CriterionInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        complete = Q(tasks__submitted_count__gte=F("annotations_per_task"))
        counts = {"task_count": Count("tasks"), "complete_count": Count("tasks", filter=complete)}
        return super().get_queryset(request).annotate(**counts)

    def get_urls(self) -> list[URLPattern]:
        name = "evaluations_annotationqueue_annotate"
        view = self.admin_site.admin_view(self.annotate_view)
        return [
            path("<uuid:queue_id>/annotate/", view, name=name),
            path("<uuid:queue_id>/annotate/<uuid:annotation_id>/", view, name=f"{name}_again"),
            *super().get_urls(),
        ]

    def annotate_view(self, request: HttpRequest, queue_id: UUID, annotation_id: UUID | None = None) -> HttpResponse:
        return annotate(self, request, queue_id, annotation_id)

    @admin.display(description="complete")
    def progress(self, queue: Any) -> str:
        return f"{queue.complete_count:,} of {queue.task_count:,}"

    @admin.display(boolean=True, description="deleted")
    def is_gone(self, queue: AnnotationQueue) -> bool:
        return queue.is_deleted

    @admin.display(description="annotate")
    def annotate_link(self, queue: AnnotationQueue) -> SafeString | str:
        if queue.is_deleted or not queue.is_active:
            return "not active"
        address = reverse("admin:evaluations_annotationqueue_annotate", args=[queue.pk])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500 underline" href="{}">Annotate</a>', address
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
