"""Providers of models, the models an organization may use, and the order in which they stand in for one another."""

from decimal import Decimal
from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.organizations.models import SoftDeleteTenantModel, SoftDeleteTenantQuerySet
from everquant.db import BaseModel
from everquant.encryption import decrypt, encrypt

MODEL_SLUG = RegexValidator(
    r"\A[a-z0-9]+([._:/-]+[a-z0-9]+)*\Z", "Lower-case letters and digits, with . _ : / or - between them."
)
MAX_FALLBACKS = 5


class ProviderKind(models.TextChoices):
    """Each kind has an adapter of the same name in `providers`."""

    OPENAI = "openai", "OpenAI and compatible"
    ANTHROPIC = "anthropic", "Anthropic"
    ECHO = "echo", "Echo (offline)"


class Capability(models.TextChoices):
    CHAT = "chat"
    STREAMING = "streaming"
    TOOLS = "tools"
    VISION = "vision"
    STRUCTURED_OUTPUT = "structured_output"
    EMBEDDINGS = "embeddings"


class Provider(SoftDeleteTenantModel):
    """Where models are called and with which key. An empty `base_url` means the kind's own."""

    kind = models.CharField(max_length=16, choices=ProviderKind.choices)
    name = models.CharField(max_length=100)
    base_url = models.CharField(max_length=500, blank=True)
    encrypted_api_key = models.BinaryField(null=True, editable=False)
    api_key_set_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(deleted_at__isnull=True),
                name="models_provider_name_unique",
            ),
            models.CheckConstraint(condition=Q(kind__in=ProviderKind.values), name="models_provider_kind_known"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_api_key(self) -> bool:
        return self.encrypted_api_key is not None

    def set_api_key(self, secret: str) -> None:
        """Of this object only, until it is saved; an empty secret takes the key away."""
        self.encrypted_api_key = encrypt(secret) if secret else None
        self.api_key_set_at = timezone.now() if secret else None

    def reveal_api_key(self) -> str:
        """The key itself, or an empty string; raises DecryptionError."""
        return decrypt(self.encrypted_api_key).decode() if self.encrypted_api_key is not None else ""


class LLMModelQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override]  # as_manager()
    def with_provider(self) -> "LLMModelQuerySet":
        return self.select_related("provider")

    def usable(self) -> "LLMModelQuerySet":
        """Those that may be called now, each with its provider."""
        return self.with_provider().filter(
            deleted_at__isnull=True, is_active=True, provider__deleted_at__isnull=True, provider__is_active=True
        )


def _price_field(of: str) -> Any:
    return models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text=f"USD for a million {of} tokens; empty means the price of the catalog.",
    )


class LLMModel(SoftDeleteTenantModel):
    """A model of a provider under the organization's own `slug`, with its limits and its price.

    The five prices are for tokens in disjoint buckets, in USD for a million of them.
    """

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="llm_models")
    slug = models.CharField(max_length=100, validators=[MODEL_SLUG])
    name = models.CharField(max_length=200)
    provider_model_name = models.CharField(max_length=200)
    capabilities = ArrayField(models.CharField(max_length=32, choices=Capability.choices), default=list, blank=True)
    context_window = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    default_parameters = models.JSONField(default=dict, blank=True)
    input_price_usd = _price_field("input")
    cached_input_price_usd = _price_field("cached input")
    cache_write_price_usd = _price_field("cache-writing input")
    output_price_usd = _price_field("output")
    reasoning_price_usd = _price_field("reasoning")
    max_concurrency = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    is_active = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False)
    fallbacks: Any = models.ManyToManyField("self", through="ModelFallback", symmetrical=False, related_name="+")

    objects: ClassVar[Any] = LLMModelQuerySet.as_manager()

    class Meta:
        verbose_name = "model"
        ordering = ["slug", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=Q(deleted_at__isnull=True),
                name="models_llmmodel_slug_unique",
            ),
            models.UniqueConstraint(
                fields=["organization"],
                condition=Q(is_default=True, deleted_at__isnull=True),
                name="models_llmmodel_one_default",
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{bucket}_price_usd__gte": 0}), name=f"models_llmmodel_{bucket}_price"
                )
                for bucket in ("input", "cached_input", "cache_write", "output", "reasoning")
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    def usable_fallbacks(self) -> list["LLMModel"]:
        """The models to try after this one, in order, each with its provider; one query."""
        return list(LLMModel.objects.usable().filter(stands_in_for__model=self).order_by("stands_in_for__position"))


class ModelFallback(BaseModel):
    """`fallback` is tried when `model` fails, after those at a lower position."""

    model = models.ForeignKey(LLMModel, on_delete=models.CASCADE, related_name="fallback_rows")
    fallback = models.ForeignKey(LLMModel, on_delete=models.CASCADE, related_name="stands_in_for")
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["model", "position"]
        constraints = [
            models.UniqueConstraint(fields=["model", "fallback"], name="models_fallback_unique"),
            models.UniqueConstraint(fields=["model", "position"], name="models_fallback_position_unique"),
            models.CheckConstraint(condition=~Q(model=models.F("fallback")), name="models_fallback_not_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} → {self.fallback_id}"

    def get_additional_data(self) -> dict[str, Any]:
        return {"organization_id": str(self.model.organization_id)}


def hide(_secret: str) -> str:
    return "***"


auditlog.register(
    Provider,
    exclude_fields=["updated_at"],
    mask_fields=["encrypted_api_key"],
    mask_callable=f"{hide.__module__}.{hide.__qualname__}",
)
auditlog.register(LLMModel, exclude_fields=["updated_at"])
auditlog.register(ModelFallback, exclude_fields=["updated_at"])
