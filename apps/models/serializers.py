"""Providers and models as they are read and written. A provider's key is written and never read."""

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from apps.models.models import MAX_FALLBACKS, Capability, LLMModel, Provider
from apps.models.parameters import PARAMETERS_SCHEMA, parameter_problems
from apps.models.prices import BUCKETS, CatalogEntry, Prices, prices_of
from apps.models.services import CheckResult
from everquant.api.serializers import (
    JSONObjectField,
    ScopedField,
    StrictBooleanField,
    StrictCharField,
    StrictModelSerializer,
    StrictSerializer,
)
from everquant.network.address import MAX_URL_LENGTH, parse_base_url

MAX_KEY_LENGTH = 500
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


class BaseURLField(StrictCharField):
    """The form only: where the host leads to is looked up by the view, outside of a transaction."""

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if value:
            try:
                parse_base_url(value)
            except ValueError as error:
                raise ValidationError(str(error)) from None
        return value.rstrip("/")


class BaseURLFieldSchema(OpenApiSerializerFieldExtension):
    """Of requests a form that is always taken, without the rarer ones, such as IPv6 addresses, that are taken too."""

    target_class = "apps.models.serializers.BaseURLField"
    priority = 1

    def map_serializer_field(self, auto_schema: Any, direction: str) -> Any:
        host, path = "[A-Za-z0-9]([A-Za-z0-9-]{0,60}[A-Za-z0-9])?", "(/[A-Za-z0-9._~-]*)*"
        pattern = f"^https?://{host}(:[1-9][0-9]{{0,3}})?{path}$" if direction == "request" else "^https?://[!-~]+$"
        return {"type": "string", "maxLength": MAX_URL_LENGTH, "pattern": pattern}


@extend_schema_field({"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": "^[ -~]+$"})
class SecretField(StrictCharField):
    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if not value.isascii() or not value.isprintable():
            raise ValidationError("Only printable ASCII characters can be sent as a key.")
        return value


@extend_schema_field({"type": "string", "pattern": f"^{_PRICE.pattern}$"})
class PriceField(serializers.DecimalField):
    """USD for a million tokens, as a decimal string."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=12, decimal_places=6, required=False, allow_null=True, **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not _PRICE.fullmatch(data):
            raise ValidationError("Must be a string of at most six digits, and six after the point.")
        return super().to_internal_value(data)


@extend_schema_field(PARAMETERS_SCHEMA)
class ParametersField(JSONObjectField):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value: dict[str, Any] = super().to_internal_value(data)
        problems = parameter_problems(value)
        if problems:
            raise ValidationError({name: [problem] for name, problem in problems.items()})
        return value


class ProviderSerializer(StrictModelSerializer):
    """`base_url` empty means the kind's own. `api_key` empty takes the key away."""

    base_url = BaseURLField(max_length=MAX_URL_LENGTH, allow_blank=True, required=False)
    api_key = SecretField(write_only=True, required=False, allow_blank=True, max_length=MAX_KEY_LENGTH)
    has_api_key = StrictBooleanField(read_only=True)

    class Meta:
        model = Provider
        fields = [
            "id",
            "organization_id",
            "kind",
            "name",
            "base_url",
            "api_key",
            "has_api_key",
            "api_key_set_at",
            "is_active",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "organization_id", "api_key_set_at"]


class PricesSerializer(serializers.Serializer[Prices]):
    """USD for a million tokens of each bucket; null is not known."""

    source = serializers.ChoiceField(  # type: ignore[assignment]  # DRF sets its attribute of this name on instances
        choices=["catalog", "override", "mixed", "free"], read_only=True
    )
    input = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)
    cached_input = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)
    cache_write = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)
    cache_write_1h = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)
    output = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)
    reasoning = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True, read_only=True)


class FallbackField(ScopedField):
    """A model in the request; read back as the id that its row was annotated with."""

    def to_representation(self, value: Any) -> str:
        return str(value)


class FallbacksField(serializers.ListField):
    """Counted before its ids are looked up one by one."""

    child = FallbackField(queryset=LLMModel.objects.alive())

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list) and len(data) > MAX_FALLBACKS:
            self.fail("max_length", max_length=MAX_FALLBACKS)
        return super().to_internal_value(data)


class ModelSerializer(StrictModelSerializer):
    """`prices` is what is in force now: the override of each bucket, else the catalog's."""

    provider_id = ScopedField(queryset=Provider.objects.alive(), source="provider")
    name = StrictCharField(max_length=200, required=False)
    default_parameters = ParametersField(required=False)
    capabilities = serializers.ListField(
        child=serializers.ChoiceField(choices=Capability.choices), required=False, max_length=len(Capability.values)
    )
    fallback_ids = FallbacksField(required=False, max_length=MAX_FALLBACKS)
    input_price_usd = PriceField()
    cached_input_price_usd = PriceField()
    cache_write_price_usd = PriceField()
    output_price_usd = PriceField()
    reasoning_price_usd = PriceField()
    prices = serializers.SerializerMethodField()

    class Meta:
        model = LLMModel
        fields = [
            "id",
            "organization_id",
            "provider_id",
            "slug",
            "name",
            "provider_model_name",
            "capabilities",
            "context_window",
            "max_output_tokens",
            "default_parameters",
            *(f"{bucket}_price_usd" for bucket in BUCKETS),
            "prices",
            "max_concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "fallback_ids",
            "is_active",
            "is_default",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "organization_id"]

    @extend_schema_field(PricesSerializer(allow_null=True))
    def get_prices(self, model: LLMModel) -> Any:
        prices = prices_of(model)
        return PricesSerializer(prices).data if prices else None

    def validate_capabilities(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    def validate_fallback_ids(self, value: list[LLMModel]) -> list[LLMModel]:
        if len(set(value)) != len(value):
            raise ValidationError("A model is named twice.")
        return value


class CheckProviderSerializer(StrictSerializer):
    """`model`: the provider's own name of the model to ask; without it the provider's first model is asked."""

    model = StrictCharField(max_length=200, required=False)


class CheckErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(read_only=True)
    message = serializers.CharField(read_only=True)
    status = serializers.IntegerField(read_only=True, allow_null=True)


class CheckResultSerializer(serializers.Serializer[CheckResult]):
    """What a real call gave. Tokens are null when the provider did not say."""

    is_ok = serializers.BooleanField(read_only=True)
    model = serializers.CharField(read_only=True)
    latency_ms = serializers.IntegerField(read_only=True)
    text = serializers.CharField(read_only=True)
    input_tokens = serializers.IntegerField(source="usage.input_tokens", default=None, allow_null=True, read_only=True)
    output_tokens = serializers.IntegerField(
        source="usage.output_tokens", default=None, allow_null=True, read_only=True
    )
    error = CheckErrorSerializer(read_only=True, allow_null=True)


class CatalogEntrySerializer(serializers.Serializer[CatalogEntry]):
    """A model of the price catalog, under its provider's name there."""

    provider = serializers.CharField(read_only=True)
    model = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    context_window = serializers.IntegerField(read_only=True, allow_null=True)
    is_deprecated = serializers.BooleanField(read_only=True)
    prices = PricesSerializer(read_only=True)
