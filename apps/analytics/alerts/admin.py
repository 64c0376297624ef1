"""Operators' pages of alerts and of what they have told of. Definitions are the organizations' own."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from apps.analytics.alerts.services import update_alert
from apps.analytics.models import Alert, AlertEvent, AlertLetter

_CHANGEABLE = ["name", "is_active", "cooldown_minutes", "muted_until", "mute_reason"]
_CONDITION = ["metric", "score_name", "filters", "direction", "threshold", "baseline", "window_minutes", "min_count",
              "fires_on_no_data"]  # fmt: skip


@admin.register(Alert)
class AlertAdmin(ModelAdmin):
    list_display = ["name", "organization", "metric", "direction", "threshold", "baseline", "window_minutes",
                    "firing_since", "muted_until", "is_active"]  # fmt: skip
    list_filter = ["is_active", "metric", ("firing_since", admin.EmptyFieldListFilter)]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name"]
    ordering = ["organization__slug", "name", "id"]
    readonly_fields = ["id", "organization", *_CONDITION, "roles", "emails", "firing_since", "evaluated_at",
                       "known_at", "created_at", "updated_at"]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["organization", *_CHANGEABLE]}),
        ("Condition", {"fields": _CONDITION}),
        ("Told", {"fields": ["roles", "emails"]}),
        ("State", {"fields": ["firing_since", "evaluated_at", "known_at"]}),
        ("Row", {"fields": ["id", "created_at", "updated_at"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """By the service: one that is switched off does not go on firing."""
        stored = Alert.objects.select_for_update().get(pk=obj.pk)
        update_alert(alert=stored, **{name: form.cleaned_data[name] for name in form.changed_data})


class LetterInline(TabularInline):
    model = AlertLetter
    fields = ["about", "email", "status", "attempts", "last_error", "updated_at"]
    readonly_fields = fields
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AlertEvent)
class AlertEventAdmin(ModelAdmin):
    list_display = ["fired_at", "organization", "alert", "reason", "message", "resolved_at", "resolution", "unsent"]
    list_filter = ["reason", "resolution", ("resolved_at", admin.EmptyFieldListFilter), "letters__status"]
    list_select_related = ["organization", "alert"]
    inlines = [LetterInline]
    search_fields = ["alert__name", "organization__name"]
    ordering = ["-id"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("letters")

    @admin.display(description="mails not sent")
    def unsent(self, event: AlertEvent) -> str:
        found = event.mails
        if not found["last_error"]:
            return ""
        return f"{found['failed']} given up, {found['pending']} tried again: {found['last_error']}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
