"""Evaluators, their versions and score configs. Configurations are changed through the API, which checks them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from apps.evaluations.models import Evaluator, EvaluatorVersion, ScoreConfig
from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.showing import pretty


class _Named(ModelAdmin):
    """Only what makes no difference to a score is changed here."""

    list_filter: Any = [("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related: Any = ["organization"]
    date_hierarchy = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(boolean=True, description="deleted")
    def is_gone(self, row: Any) -> bool:
        return bool(row.is_deleted)


class VersionInline(TabularInline):
    model = EvaluatorVersion
    fk_name = "evaluator"
    fields = ["version_number", "kind_version", "score_config", "message", "created_by", "created_at"]
    readonly_fields = fields
    ordering = ["-version_number"]
    show_change_link = True
    extra = 0
    per_page = 20

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Evaluator)
class EvaluatorAdmin(_Named):
    list_display = ["slug", "name", "kind", "organization", "number", "is_gone", "updated_at"]
    list_filter = ["kind", ("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization", "current_version"]
    search_fields = ["slug", "name", "description", "organization__name"]
    readonly_fields = [
        "id", "organization", "slug", "kind", "number", "config_json", "created_by", "created_at", "updated_at",
        "deleted_at",
    ]  # fmt: skip
    fields = ["name", "description", *readonly_fields]
    inlines = [VersionInline]

    @admin.display(description="version", ordering="current_version__version_number")
    def number(self, evaluator: Evaluator) -> int | None:
        return evaluator.current_version.version_number if evaluator.current_version else None

    @admin.display(description="configuration")
    def config_json(self, evaluator: Evaluator) -> SafeString:
        return pretty(evaluator.current_version.config if evaluator.current_version else None)


@admin.register(EvaluatorVersion)
class EvaluatorVersionAdmin(ReadOnlyAdmin):
    list_display = [
        "evaluator",
        "version_number",
        "organization",
        "score_config",
        "message",
        "created_by",
        "created_at",
    ]
    list_filter = ["evaluator__kind", "created_at"]
    list_select_related = ["evaluator", "organization", "score_config", "created_by"]
    search_fields = ["evaluator__slug", "message"]
    ordering = ["-id"]
    fields = [
        "id", "organization", "evaluator", "version_number", "kind_version", "config_json", "score_config", "message",
        "created_by", "created_at",
    ]  # fmt: skip

    @admin.display(description="configuration")
    def config_json(self, version: EvaluatorVersion) -> SafeString:
        return pretty(version.config)


@admin.register(ScoreConfig)
class ScoreConfigAdmin(_Named):
    list_display = ["name", "type", "minimum", "maximum", "direction", "organization", "is_gone", "updated_at"]
    list_filter = ["type", "direction", ("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    search_fields = ["name", "description", "organization__name"]
    readonly_fields = [
        "id", "organization", "name", "type", "minimum", "maximum", "categories_json", "direction", "created_by",
        "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    fields = ["description", *readonly_fields]

    @admin.display(description="categories")
    def categories_json(self, config: ScoreConfig) -> SafeString:
        return pretty(config.categories)
