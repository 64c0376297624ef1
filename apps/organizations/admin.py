from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from apps.organizations.models import DeliveryStatus, Organization, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks.services import redeliver, update_endpoint
from everquant.api.errors import Conflict

_STATUS_COLOURS = {
    DeliveryStatus.SUCCEEDED: "success",
    DeliveryStatus.PENDING: "info",
    DeliveryStatus.FAILED: "danger",
}


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin):
    list_display = ["name", "slug", "is_active", "created_at", "dashboard"]
    list_filter = ["is_active"]
    search_fields = ["name", "slug"]
    readonly_fields = ["id", "created_at", "updated_at"]

    @admin.display
    def dashboard(self, organization: Organization) -> SafeString:
        return format_html('<a href="{}?organization={}">Dashboard</a>', reverse("admin:index"), organization.pk)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ModelAdmin):
    """Made over the API, where its secret is shown; here it can be switched off and on."""

    list_display = ["name", "organization", "url", "is_active", "disabled_reason", "failing_since", "is_gone"]
    list_filter = ["is_active", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization"]
    search_fields = ["name", "url", "organization__name"]
    fields = [
        "id", "organization", "name", "url", "event_types", "is_active", "disabled_reason", "failing_since",
        "previous_secret_expires_at", "deleted_at", "created_at", "updated_at",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name != "is_active"]

    @admin.display(boolean=True, description="deleted")
    def is_gone(self, endpoint: WebhookEndpoint) -> bool:
        return endpoint.is_deleted

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> bool:
        return not (obj and obj.is_deleted) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        wanted, obj.is_active = obj.is_active, form.initial["is_active"]
        update_endpoint(endpoint=obj, is_active=wanted)


class AttemptInline(TabularInline):
    model = WebhookAttempt
    fields = ["number", "status", "latency_ms", "error", "response_excerpt", "created_at"]
    readonly_fields = fields
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ModelAdmin):
    list_display = ["created_at", "event_type", "endpoint", "organization", "state", "attempts", "next_attempt_at"]
    list_filter = ["status", "event_type"]
    list_select_related = ["endpoint", "organization"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["event_id", "endpoint__name", "organization__name"]
    ordering = ["-id"]
    inlines = [AttemptInline]
    fields = [
        "id", "organization", "endpoint", "event_id", "event_type", "payload", "status", "attempts", "next_attempt_at",
        "last_status", "last_error", "delivered_at", "job_id", "claim_expires_at", "created_at", "updated_at",
    ]  # fmt: skip
    actions = ["deliver_again"]

    @display(description="status", label=_STATUS_COLOURS)
    def state(self, delivery: WebhookDelivery) -> tuple[str, str]:
        return delivery.status, delivery.get_status_display()

    @admin.action(description="Deliver again", permissions=["view"])
    def deliver_again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        for delivery in queryset:
            try:
                redeliver(delivery=delivery)
            except Conflict as error:
                self.message_user(request, f"{delivery}: {error.message}", messages.WARNING)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
