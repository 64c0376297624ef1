"""Workflows, their versions and where labels were. Definitions are edited through the API, which checks them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.showing import drawing, pretty
from apps.workflows.models import Workflow, WorkflowLabel, WorkflowLabelEvent, WorkflowVersion


class _ReadOnlyInline(TabularInline):
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LabelInline(_ReadOnlyInline):
    model = WorkflowLabel
    fields = ["name", "version", "updated_at"]
    readonly_fields = fields


class VersionInline(_ReadOnlyInline):
    model = WorkflowVersion
    fk_name = "workflow"
    fields = ["version_number", "message", "created_by", "created_at"]
    readonly_fields = fields
    ordering = ["-version_number"]
    show_change_link = True
    per_page = 20


class _Drawn:
    """The styles of drawings."""

    class Media:
        css = {"all": ["workflows/drawing.css", "workflows/admin.css"]}


@admin.register(Workflow)
class WorkflowAdmin(_Drawn, ModelAdmin):
    list_display = ["slug", "name", "organization", "number", "label_list", "is_active", "is_gone", "updated_at"]
    list_filter = ["is_active", ("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization", "current_version"]
    search_fields = ["slug", "name", "description", "organization__name"]
    date_hierarchy = "created_at"
    readonly_fields = [
        "id", "organization", "slug", "picture", "draft_json", "draft_state", "number", "runs", "created_by",
        "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fieldsets = [
        ("Current version", {"fields": ["picture"]}),
        (
            None,
            {
                "fields": [
                    "id", "organization", "slug", "name", "description", "tags", "is_active", "max_concurrent_runs",
                    "number", "runs", "created_by", "created_at", "updated_at", "deleted_at",
                ]
            },
        ),
        ("Draft", {"fields": ["draft_state", "draft_json"], "classes": ["collapse"]}),
    ]  # fmt: skip
    inlines = [LabelInline, VersionInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.with_current()

    @admin.display(description="version", ordering="current_version__version_number", empty_value="not published")
    def number(self, workflow: Workflow) -> int | None:
        return workflow.current_version.version_number if workflow.current_version else None

    @admin.display(description="labels")
    def label_list(self, workflow: Workflow) -> str:
        return ", ".join(f"{name} → {number}" for name, number in workflow.labels.items())

    @admin.display(boolean=True, description="deleted")
    def is_gone(self, workflow: Workflow) -> bool:
        return workflow.is_deleted

    @admin.display(description="drawing")
    def picture(self, workflow: Workflow) -> SafeString:
        version = workflow.current_version
        shown = version.definition if version else workflow.draft
        return drawing(shown, title=f"{workflow.slug}, {version or 'draft'}")

    @admin.display(description="JSON")
    def draft_json(self, workflow: Workflow) -> SafeString:
        return pretty(workflow.draft)

    @admin.display(description="state")
    def draft_state(self, workflow: Workflow) -> str:
        if workflow.current_version is None:
            return "not published yet"
        same = workflow.draft == workflow.current_version.definition
        return "as published" if same else "has changes that are not published"

    @admin.display
    def runs(self, workflow: Workflow) -> SafeString:
        address = f"{reverse('admin:workflows_workflowrun_changelist')}?workflow__id__exact={workflow.pk}"
        return format_html('<a class="wf-link" href="{}">Runs of this workflow</a>', address)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Workflow | None = None) -> bool:
        return False


@admin.register(WorkflowVersion)
class VersionAdmin(_Drawn, ReadOnlyAdmin):
    list_display = ["workflow", "version_number", "organization", "message", "created_by", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["workflow", "organization", "created_by"]
    search_fields = ["workflow__slug", "message"]
    ordering = ["-id"]
    fieldsets = [
        ("Drawing", {"fields": ["picture"]}),
        (None, {"fields": ["id", "organization", "workflow", "version_number", "message", "created_by", "created_at"]}),
        ("Definition", {"fields": ["definition_json", "pins_json"]}),
    ]

    @admin.display(description="drawing")
    def picture(self, version: WorkflowVersion) -> SafeString:
        return drawing(version.definition, title=f"{version.workflow.slug}, {version}")

    @admin.display(description="JSON")
    def definition_json(self, version: WorkflowVersion) -> SafeString:
        return pretty(version.definition)

    @admin.display(description="resolved at publish")
    def pins_json(self, version: WorkflowVersion) -> SafeString:
        return pretty(version.pins)


@admin.register(WorkflowLabelEvent)
class LabelEventAdmin(ReadOnlyAdmin):
    list_display = [
        "name", "workflow", "organization", "from_version", "to_version", "reason", "created_by", "created_at",
    ]  # fmt: skip
    list_filter = ["name", "created_at"]
    list_select_related = ["workflow", "organization", "from_version", "to_version", "created_by"]
    search_fields = ["name", "workflow__slug", "reason"]
    ordering = ["-created_at", "-id"]
    exclude = ["updated_at"]
