"""Operators' pages for people and what signs in for them. Secrets are never shown."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from apps.users.models import ApiKey, AuditEntry, Invitation, Membership, Session, User
from apps.users.services import end_session

admin.site.unregister(Group)
admin.site.unregister(AuditEntry)  # auditlog's own page of it


class LowerCaseEmail:
    def clean_email(self: Any) -> str:
        return str(self.cleaned_data["email"]).strip().lower()


class NewUserForm(LowerCaseEmail, UserCreationForm):
    class Meta:
        model = User
        fields = ["email", "name"]


class UserForm(LowerCaseEmail, UserChangeForm):
    class Meta:
        model = User
        fields = ["email", "name", "password", "is_active", "is_staff", "is_superuser", "user_permissions"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["email", "name", "is_active", "is_staff", "last_login", "created_at"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    readonly_fields = ["id", "last_login", "created_at", "updated_at"]
    filter_horizontal = ["user_permissions"]
    fieldsets = [
        (None, {"fields": ["id", "email", "name", "password"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "user_permissions"]}),
        ("Times", {"fields": ["last_login", "created_at", "updated_at"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "name", "usable_password", "password1", "password2"]})]

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody deletes themselves: the audit entry of it would name an actor who is gone."""
        is_self = obj is not None and obj.pk == request.user.pk
        return not is_self and super().has_delete_permission(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        super().delete_queryset(request, queryset.exclude(pk=str(request.user.pk)))


@admin.register(Membership)
class MembershipAdmin(ModelAdmin):
    list_display = ["user", "organization", "role", "is_active", "created_at"]
    list_filter = ["role", "is_active"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "organization__name"]
    autocomplete_fields = ["user", "organization"]
    readonly_fields = ["id", "created_at", "updated_at"]


class NotMadeHere(ModelAdmin):
    """Shown, not made or changed here. Deleted only together with what it belongs to."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        match = request.resolver_match
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        if match is None or (match.url_name or "").startswith(own):
            return False
        return super().has_delete_permission(request, obj)


class ReadOnly(NotMadeHere):
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Invitation)
class InvitationAdmin(ReadOnly):
    list_display = ["email", "organization", "role", "expires_at", "accepted_at", "revoked_at"]
    list_filter = ["role"]
    list_select_related = ["organization"]
    search_fields = ["email", "organization__name"]
    actions = ["revoke"]

    @admin.action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        for invitation in queryset.filter(accepted_at__isnull=True):
            invitation.revoke()


@admin.register(ApiKey)
class ApiKeyAdmin(NotMadeHere):
    list_display = ["name", "prefix", "user", "organization", "expires_at", "last_used_at", "revoked_at"]
    list_select_related = ["user", "organization"]
    search_fields = ["name", "prefix", "user__email", "organization__name"]
    fields: ClassVar[Any] = [
        "name", "prefix", "organization", "user", "scopes", "expires_at", "last_used_at", "revoked_at", "created_at",
    ]  # fmt: skip
    readonly_fields = [
        "prefix", "organization", "user", "scopes", "expires_at", "last_used_at", "revoked_at", "created_at",
    ]  # fmt: skip
    actions = ["revoke"]

    @admin.action(description="Revoke now", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            key.revoke(timezone.now())


@admin.register(Session)
class SessionAdmin(ReadOnly):
    list_display = ["user", "organization", "created_at", "expires_at", "ended_at", "ended_because"]
    list_filter = ["ended_because"]
    list_select_related = ["user", "organization"]
    search_fields = ["user__email", "organization__name"]
    exclude = ["current_jti"]
    actions = ["end"]

    @admin.action(description="End", permissions=["view"])
    def end(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        for session in queryset:
            end_session(session=session, because="ended by an operator")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    date_hierarchy = "timestamp"
    list_display = ["timestamp", "action", "content_type", "object_repr", "actor_email", "remote_addr"]
    list_filter = ["action", "content_type"]
    list_select_related = ["content_type"]
    search_fields = ["object_repr", "object_pk", "actor_email", "cid", "organization_id"]
    fields = [
        "timestamp", "action", "content_type", "object_pk", "object_repr", "changes", "actor", "actor_email",
        "api_key_id", "organization_id", "remote_addr", "cid",
    ]  # fmt: skip
