from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from apps.models.gate.shared import read_circuit
from apps.models.models import LLMModel, ModelFallback, Provider
from apps.models.parameters import parameter_problems
from everquant.cache import RedisAway
from everquant.network.address import validate_base_url


class SoftDeleteForm(forms.ModelForm):
    """Checks constraints over living rows too, which Django skips as `deleted_at` is not in the form."""

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"deleted_at"}  # type: ignore[misc]  # not in the stubs


class ProviderForm(SoftDeleteForm):
    """The key can be written and taken away here, and is never shown."""

    api_key = forms.CharField(
        required=False,
        strip=True,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Leave empty to keep the key as it is. Needed again when the kind or the URL changes.",
    )
    remove_api_key = forms.BooleanField(required=False)

    class Meta:
        model = Provider
        fields = ["organization", "kind", "name", "base_url", "is_active"]

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"]
        if url:
            try:
                validate_base_url(url, allow_private=settings.ALLOW_PRIVATE_PROVIDER_URLS)
            except ValueError as error:
                raise ValidationError(str(error)) from None
        return url.rstrip("/")

    def clean_api_key(self) -> str:
        key: str = self.cleaned_data["api_key"]
        if not key.isascii() or not key.isprintable():
            raise ValidationError("Only printable ASCII characters can be sent as a key.")
        return key

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        is_moved = bool({"kind", "base_url"} & set(self.changed_data))
        if is_moved and self.instance.has_api_key and not (cleaned.get("api_key") or cleaned.get("remove_api_key")):
            self.add_error("api_key", "Give the key again, or remove it, when the kind or the URL changes.")
        return cleaned

    def save(self, commit: bool = True) -> Provider:
        if self.cleaned_data["api_key"] or self.cleaned_data["remove_api_key"]:
            self.instance.set_api_key(self.cleaned_data["api_key"])
        return super().save(commit)


@admin.register(Provider)
class ProviderAdmin(ModelAdmin):
    form = ProviderForm
    list_display = ["name", "kind", "organization", "base_url", "holds_key", "is_active", "is_deleted", "updated_at"]
    list_filter = ["kind", "is_active", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization"]
    search_fields = ["name", "base_url", "organization__name"]
    autocomplete_fields = ["organization"]
    readonly_fields = ["id", "holds_key", "api_key_set_at", "deleted_at", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["organization", "kind", "name", "base_url", "is_active"]}),
        ("Key", {"fields": ["holds_key", "api_key_set_at", "api_key", "remove_api_key"]}),
        ("Row", {"fields": ["id", "deleted_at", "created_at", "updated_at"]}),
    ]

    @admin.display(boolean=True, description="key")
    def holds_key(self, provider: Provider) -> bool:
        return provider.has_api_key

    @admin.display(boolean=True, description="deleted")
    def is_deleted(self, provider: Provider) -> bool:
        return provider.is_deleted

    def has_delete_permission(self, request: HttpRequest, obj: Provider | None = None) -> bool:
        return False


class ModelForm(SoftDeleteForm):
    class Meta:
        model = LLMModel
        exclude = ["fallbacks"]  # noqa: DJ006 - fallbacks have rows of their own, below the form

    def clean_default_parameters(self) -> Any:
        parameters = self.cleaned_data["default_parameters"]
        if not isinstance(parameters, dict):
            raise ValidationError("Must be a JSON object.")
        problems = parameter_problems(parameters)
        if problems:
            raise ValidationError([f"{name}: {problem}" for name, problem in problems.items()])
        return parameters

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        provider, organization = cleaned.get("provider"), cleaned.get("organization")
        if provider and organization and provider.organization_id != organization.pk:
            self.add_error("provider", "This provider is another organization's.")
        return cleaned


class FallbackForm(forms.ModelForm):
    class Meta:
        model = ModelFallback
        fields = ["position", "fallback"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        fallback = cleaned.get("fallback")
        if fallback and fallback.organization_id != self.instance.model.organization_id:
            self.add_error("fallback", "This model is another organization's.")
        return cleaned


class FallbackInline(TabularInline):
    model = ModelFallback
    form = FallbackForm
    fk_name = "model"
    autocomplete_fields = ["fallback"]
    extra = 0


@admin.register(LLMModel)
class LLMModelAdmin(ModelAdmin):
    form = ModelForm
    inlines = [FallbackInline]
    list_display = ["slug", "provider", "organization", "provider_model_name", "is_default", "is_active", "is_deleted"]
    list_filter = ["provider__kind", "is_active", "is_default", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["provider", "organization"]
    search_fields = ["slug", "name", "provider_model_name", "organization__name"]
    autocomplete_fields = ["organization", "provider"]
    readonly_fields = ["id", "circuit", "deleted_at", "created_at", "updated_at"]

    @admin.display
    def circuit(self, model: LLMModel) -> str:
        """Whether calls go through to the provider now."""
        if model.provider_id is None:
            return "-"
        try:
            state = read_circuit(model.provider_id, model.provider_model_name)
        except RedisAway:
            return "unknown: Redis is away"
        if state.open_for_ms:
            return f"open for {state.open_for_ms / 1000:.0f} s more, after {state.failures} failures"
        if state.is_open:
            return "half open: the next call is a probe"
        return f"closed, {state.failures} failures in a row" if state.failures else "closed"

    @admin.display(boolean=True, description="deleted")
    def is_deleted(self, model: LLMModel) -> bool:
        return model.is_deleted

    def has_delete_permission(self, request: HttpRequest, obj: LLMModel | None = None) -> bool:
        return False
