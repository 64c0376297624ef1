"""Schedules and triggers. They are made through the API, which checks them; here they can be switched off and on."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from apps.workflows.models import WorkflowSchedule, WorkflowTrigger
from apps.workflows.schedules.services import update_schedule
from apps.workflows.triggers.services import update_trigger


class StarterAdmin(ModelAdmin):
    list_filter = ["is_active"]
    list_select_related = ["organization", "workflow", "created_by"]
    search_fields = ["name", "workflow__slug", "organization__name"]

    @admin.display(description="last run")
    def run(self, starter: Any) -> SafeString | str:
        if starter.last_run_id is None:
            return "-"
        url = reverse("admin:workflows_workflowrun_change", args=[starter.last_run_id])
        return format_html('<a href="{}">{:%Y-%m-%d %H:%M}</a>', url, starter.last_run_at)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(WorkflowSchedule)
class ScheduleAdmin(StarterAdmin):
    list_display = [
        "name", "workflow", "organization", "cron", "timezone", "is_active", "next_run_at", "run", "last_error",
    ]  # fmt: skip
    list_filter = ["is_active", "overlap", "missed"]
    fields = [
        "id", "organization", "workflow", "name", "is_active", "cron", "timezone", "inputs", "label", "overlap",
        "missed", "next_run_at", "queued_times", "run", "last_skipped_at", "last_error", "created_by", "created_at",
        "updated_at",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name != "is_active"]

    def save_model(self, request: HttpRequest, obj: WorkflowSchedule, form: Any, change: bool) -> None:
        wanted, obj.is_active = obj.is_active, form.initial["is_active"]
        update_schedule(schedule=obj, is_active=wanted)


@admin.register(WorkflowTrigger)
class TriggerAdmin(StarterAdmin):
    list_display = ["name", "workflow", "organization", "is_active", "run", "last_error"]
    fields = [
        "id", "organization", "workflow", "name", "is_active", "inputs", "label", "previous_secret_expires_at", "run",
        "last_error", "created_by", "created_at", "updated_at",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name != "is_active"]

    def save_model(self, request: HttpRequest, obj: WorkflowTrigger, form: Any, change: bool) -> None:
        wanted, obj.is_active = obj.is_active, form.initial["is_active"]
        update_trigger(trigger=obj, is_active=wanted)
