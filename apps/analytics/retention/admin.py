"""Operators' page of retention: they may hold what an organization would let go, and set policies."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from apps.analytics.models import RetentionPolicy
from apps.analytics.models.retention import PURGED_BEFORE


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(ModelAdmin):
    list_display = ["organization", "payload_days", "execution_days", "legal_hold", "payloads_purged_before",
                    "purged_before"]  # fmt: skip
    list_filter = ["legal_hold"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "organization__slug"]
    autocomplete_fields = ["organization"]
    ordering = ["organization__slug"]
    readonly_fields = ["id", *PURGED_BEFORE, "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["organization", "payload_days", "execution_days", "legal_hold", "legal_hold_reason"]}),
        ("Purged", {"fields": PURGED_BEFORE}),
        ("Row", {"fields": ["id", "created_at", "updated_at"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["organization"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: RetentionPolicy, form: Any, change: bool) -> None:
        """Only what was edited: a purge may have moved the rest since the row was read."""
        if change:
            obj.save_fields(*form.changed_data)
        else:
            super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """It is what tells since when executions are missing."""
        return False
