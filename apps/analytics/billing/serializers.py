"""Usage and statements as they are answered. Amounts are decimal strings in USD, exact unless they say otherwise."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.analytics.billing.usage import GROUPS
from apps.analytics.models import Statement

_AMOUNT = r"^-?[0-9]+(\.[0-9]+)?$"
_UNKNOWN = "Null when of none of the executions a cost is known."


@extend_schema_field({"type": "string", "pattern": _AMOUNT})
class UsdField(serializers.CharField):
    """USD as a decimal string."""


@extend_schema_field({"type": ["string", "null"], "pattern": _AMOUNT})
class KnownUsdField(serializers.CharField):
    """USD as a decimal string, or null."""


@extend_schema_field({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"})
class MonthField(serializers.DateField):
    """A month as `2026-11`."""


def _count(help_text: str = "") -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, help_text=help_text)


class SumsSerializer(serializers.Serializer[Any]):
    executions = _count("That have ended, whether or not they succeeded.")
    cached = _count("Answered from the response cache, for nothing.")
    estimated = _count("Cancelled ones whose tokens are an estimate.")
    unpriced = _count("That used tokens whose price is not known: their cost is in no sum.")
    without_usage = _count("Of which no provider told any usage, as of most failed ones.")
    input_tokens = _count()
    cached_input_tokens = _count()
    cache_write_tokens = _count()
    cache_write_1h_tokens = _count()
    output_tokens = _count()
    reasoning_tokens = _count()
    cost_usd = KnownUsdField(allow_null=True, help_text=_UNKNOWN)
    saved_cost_usd = KnownUsdField(allow_null=True, help_text="What answers from the response cache would have cost.")


class UsageRowSerializer(SumsSerializer):
    key = serializers.CharField(allow_null=True, help_text="An id or a day; null for executions without one.")
    name = serializers.CharField(allow_null=True)


class UsageSerializer(serializers.Serializer[Any]):
    to = serializers.DateField(help_text="The first day that is not part of it.")
    group_by = serializers.ChoiceField(list(GROUPS))
    currency = serializers.CharField()
    rows = UsageRowSerializer(many=True)
    total = SumsSerializer()

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateField(), **super().get_fields()}


class StatementLineSerializer(SumsSerializer):
    """What one model has answered at one price."""

    model_id = serializers.UUIDField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    provider_model = serializers.CharField()
    price = serializers.DictField(
        child=serializers.CharField(allow_null=True),
        allow_null=True,
        help_text="USD for a million tokens of each bucket; of the last try, where several were charged.",
    )


class StatementTotalSerializer(SumsSerializer):
    rounded_usd = KnownUsdField(allow_null=True, help_text="To cents, half to even.")


class ReplacedSerializer(serializers.Serializer[Any]):
    revision = serializers.IntegerField(min_value=1)
    sha256 = serializers.CharField()
    total_usd = UsdField()
    difference_usd = UsdField(help_text="The total of this revision less that of the one before.")


class StatementSerializer(serializers.Serializer[Any]):
    organization_id = serializers.UUIDField()
    organization_name = serializers.CharField()
    month = serializers.CharField()
    to = serializers.DateField(help_text="The first day that is not part of it.")
    revision = serializers.IntegerField(min_value=0, help_text="0 for a month that is not closed yet.")
    is_final = serializers.BooleanField(help_text="Whether the month is closed; else these are its figures so far.")
    closed_at = serializers.DateTimeField(allow_null=True)
    replaces = ReplacedSerializer(allow_null=True)
    sha256 = serializers.CharField(
        allow_null=True, help_text="Of everything else, as JSON with sorted keys and without spaces."
    )
    currency = serializers.CharField()
    total = StatementTotalSerializer()
    lines = StatementLineSerializer(many=True)
    prompts = UsageRowSerializer(many=True)
    users = UsageRowSerializer(many=True)
    api_keys = UsageRowSerializer(many=True)
    days = UsageRowSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateField(), **super().get_fields()}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As it is stored, to the letter: the hash is of it."""
        return dict(instance)


class StatementSummarySerializer(serializers.ModelSerializer[Statement]):
    """The newest revision of a closed month."""

    month = MonthField(format="%Y-%m")
    total_usd = UsdField()
    difference_usd = KnownUsdField(allow_null=True, help_text="To the revision before; null for the first.")

    class Meta:
        model = Statement
        fields = ["id", "month", "revision", "total_usd", "difference_usd", "sha256", "created_at"]
        read_only_fields = fields
