"""Operators' pages for prompts. What is history can be read, not written."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from apps.prompts.models import Prompt, PromptLabel, PromptLabelEvent, PromptVersion


class ReadOnly:
    """Rows that nobody adds, changes or deletes here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class VersionInline(ReadOnly, TabularInline):
    model = PromptVersion
    fk_name = "prompt"
    fields = ["version_number", "format", "model", "message", "created_by", "created_at"]
    readonly_fields = fields
    ordering = ["-version_number"]
    show_change_link = True
    extra = 0


class LabelInline(ReadOnly, TabularInline):
    model = PromptLabel
    fk_name = "prompt"
    fields = ["name", "version", "updated_at"]
    readonly_fields = fields
    extra = 0


@admin.register(Prompt)
class PromptAdmin(ModelAdmin):
    """Names, tags and activity can be changed; versions and labels are made through the API, which checks them."""

    list_display = ["slug", "name", "organization", "type", "number", "is_active", "is_deleted", "updated_at"]
    list_filter = ["type", "is_active", ("deleted_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["organization", "current_version"]
    search_fields = ["slug", "name", "description", "organization__name"]
    date_hierarchy = "created_at"
    fields = [
        "id", "organization", "slug", "name", "description", "type", "tags", "is_active", "number", "created_by",
        "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    readonly_fields = [
        "id", "organization", "slug", "type", "number", "created_by", "created_at", "updated_at", "deleted_at",
    ]  # fmt: skip
    inlines = [LabelInline, VersionInline]

    @admin.display(description="version", ordering="current_version__version_number")
    def number(self, prompt: Prompt) -> int:
        return prompt.current_version.version_number

    @admin.display(boolean=True, description="deleted")
    def is_deleted(self, prompt: Prompt) -> bool:
        return prompt.is_deleted

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Prompt | None = None) -> bool:
        return False


@admin.register(PromptVersion)
class PromptVersionAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "prompt",
        "version_number",
        "organization",
        "format",
        "model",
        "message",
        "created_by",
        "created_at",
    ]
    list_filter = ["format", "created_at"]
    list_select_related = ["prompt", "organization", "model", "created_by"]
    search_fields = ["prompt__slug", "content", "message"]
    ordering = ["-created_at", "-id"]
    exclude = ["updated_at"]


@admin.register(PromptLabelEvent)
class PromptLabelEventAdmin(ReadOnly, ModelAdmin):
    list_display = [
        "name",
        "prompt",
        "organization",
        "from_version",
        "to_version",
        "reason",
        "created_by",
        "created_at",
    ]
    list_filter = ["name", "created_at"]
    list_select_related = ["prompt", "organization", "from_version", "to_version", "created_by"]
    search_fields = ["name", "prompt__slug", "reason"]
    exclude = ["updated_at"]
