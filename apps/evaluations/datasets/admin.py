"""Datasets, their versions, items and imports. Items come through the API, which checks them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from apps.evaluations.datasets.items import said_of
from apps.evaluations.datasets.services.versions import content_of
from apps.evaluations.models import Dataset, DatasetImport, DatasetItem, DatasetVersion, ImportStatus
from apps.executions.admin import ReadOnlyAdmin
from apps.prompts.admin import ReadOnly
from apps.workflows.admin.showing import pretty

LONGEST_IN_LIST = 100


class DatasetVersionInline(ReadOnly, TabularInline):
    model = DatasetVersion
    fk_name = "dataset"
    fields = ["version_number", "item_count", "message", "created_by", "created_at"]
    readonly_fields = fields
    ordering = ["-version_number"]
    show_change_link = True
    per_page = 20
    extra = 0


@admin.register(Dataset)
class DatasetAdmin(ModelAdmin):
    """Names, tags and descriptions can be changed; schemas are held against all items, which the API does."""

    list_display = ["slug", "name", "organization", "number", "item_count", "is_gone", "updated_at"]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization", "current_version"]
    search_fields = ["slug", "name", "description", "organization__name"]
    date_hierarchy = "created_at"
    fields = [
        "id", "organization", "slug", "name", "description", "tags", "number", "item_count", "input_schema_json",
        "expected_schema_json", "created_by", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    readonly_fields = [
        "id", "organization", "slug", "number", "item_count", "input_schema_json", "expected_schema_json",
        "created_by", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    inlines = [DatasetVersionInline]

    @admin.display(description="version", ordering="current_version__version_number", empty_value="no items yet")
    def number(self, dataset: Dataset) -> int | None:
        return dataset.current_version.version_number if dataset.current_version else None

    @admin.display(description="items", ordering="current_version__item_count")
    def item_count(self, dataset: Dataset) -> int:
        return dataset.current_version.item_count if dataset.current_version else 0

    @admin.display(boolean=True, description="deleted")
    def is_gone(self, dataset: Dataset) -> bool:
        return dataset.is_deleted

    @admin.display(description="schema of inputs")
    def input_schema_json(self, dataset: Dataset) -> SafeString:
        return pretty(dataset.input_schema)

    @admin.display(description="schema of expected values")
    def expected_schema_json(self, dataset: Dataset) -> SafeString:
        return pretty(dataset.expected_schema)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dataset | None = None) -> bool:
        return False


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnlyAdmin):
    list_display = ["dataset", "version_number", "item_count", "organization", "message", "created_by", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["dataset", "organization", "created_by"]
    search_fields = ["dataset__slug", "message"]
    ordering = ["-id"]
    exclude = ["updated_at"]


@admin.register(DatasetItem)
class DatasetItemAdmin(ReadOnlyAdmin):
    list_display = ["shortened", "dataset", "split", "has_expected", "has_output", "since", "until", "created_at"]
    list_filter = [("until", admin.EmptyFieldListFilter), "has_expected", "created_at"]
    list_select_related = ["dataset"]
    search_fields = ["=dataset__slug", "=split"]
    search_help_text = "The slug of a dataset, or a split"
    ordering = ["-id"]
    fields = ["id", "organization", "dataset", "content", "since", "until", "source_execution_id", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.defer("expected", "output")

    @admin.display(description="input")
    def shortened(self, item: DatasetItem) -> str:
        text = item.input if isinstance(item.input, str) else str(item.input)
        return text if len(text) <= LONGEST_IN_LIST else f"{text[:LONGEST_IN_LIST]}…"

    @admin.display
    def content(self, item: DatasetItem) -> SafeString:
        return pretty(said_of(content_of(item)))


@admin.register(DatasetImport)
class DatasetImportAdmin(ReadOnlyAdmin):
    list_display = [
        "file_name", "dataset", "organization", "shown_status", "row_count", "item_count", "error_count", "created_at",
    ]  # fmt: skip
    list_filter = ["status", "format", "created_at"]
    list_select_related = ["dataset", "organization"]
    search_fields = ["dataset__slug", "file_name"]
    ordering = ["-id"]
    fields = [
        "id", "organization", "dataset", "file_name", "format", "on_error", "on_duplicate", "is_dry_run", "status",
        "error_code", "error_message", "total_bytes", "read_bytes", "row_count", "item_count", "duplicate_count",
        "error_count", "problems", "version", "created_by", "created_at", "started_at", "finished_at",
    ]  # fmt: skip

    @display(
        description="status",
        label={
            ImportStatus.SUCCEEDED: "success", ImportStatus.FAILED: "danger", ImportStatus.RUNNING: "info",
            ImportStatus.QUEUED: "info", ImportStatus.CANCELLED: "warning",
        },
    )  # fmt: skip
    def shown_status(self, found: DatasetImport) -> str:
        return found.status

    @admin.display
    def problems(self, found: DatasetImport) -> SafeString:
        return pretty(found.errors)
