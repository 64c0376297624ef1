"""Budgets as they are read and written. What a budget is for cannot be changed: its spending would be another's."""

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.executions.models import Budget, BudgetPeriod, BudgetScope
from apps.executions.models.budgets import LIMIT_DIGITS, LIMIT_PLACES, MOST_ALERTS, SMALLEST_SHARE, default_alerts
from everquant.api.serializers import StrictBooleanField, StrictCharField, StrictSerializer, StrictUUIDField

_LIMIT = re.compile(rf"[0-9]{{1,{LIMIT_DIGITS - LIMIT_PLACES}}}(\.[0-9]{{1,{LIMIT_PLACES}}})?")
_SMALLEST_USD = Decimal(1).scaleb(-LIMIT_PLACES)


@extend_schema_field({"type": "string", "pattern": f"^{_LIMIT.pattern}$"})
class LimitField(serializers.Field):
    """USD, more than 0, as a decimal string."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not _LIMIT.fullmatch(data):
            digits = LIMIT_DIGITS - LIMIT_PLACES
            raise serializers.ValidationError(
                f"Must be a string of at most {digits} digits, and {LIMIT_PLACES} after the point."
            )
        value = Decimal(data).quantize(_SMALLEST_USD)
        if value <= 0:
            raise serializers.ValidationError("Must be more than 0.")
        return value

    def to_representation(self, value: Decimal) -> str:
        return f"{value:f}"


class ShareField(serializers.FloatField):
    """A JSON number: DRF would take strings and booleans too."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class BudgetChangeSerializer(StrictSerializer):
    """`alert_at`: shares of the limit that are told of once in a period. A hard budget refuses calls beyond it."""

    name = StrictCharField(max_length=200)
    limit_usd = LimitField()
    is_hard = StrictBooleanField(default=True)
    alert_at = serializers.ListField(
        child=ShareField(min_value=SMALLEST_SHARE, max_value=1), default=default_alerts, max_length=MOST_ALERTS
    )
    is_active = StrictBooleanField(default=True)

    def validate_alert_at(self, value: list[float]) -> list[float]:
        return sorted(set(value))


class BudgetInputSerializer(BudgetChangeSerializer):
    """`scope_id` is the id of the user, API key or prompt; an organization's own budget has none."""

    scope = serializers.ChoiceField(BudgetScope.choices)
    scope_id = StrictUUIDField(default=None, allow_null=True)
    period = serializers.ChoiceField(BudgetPeriod.choices, help_text="Calendar days and months in UTC.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["scope"] == BudgetScope.ORGANIZATION) != (attrs["scope_id"] is None):
            is_own = attrs["scope"] == BudgetScope.ORGANIZATION
            problem = "The organization's own budget has none." if is_own else "This scope needs the id of one."
            raise serializers.ValidationError({"scope_id": [problem]})
        return attrs


@extend_schema_field({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"})
class AmountField(serializers.CharField):
    """USD as a decimal string."""


class CurrentSpendSerializer(serializers.Serializer[Any]):
    """The period that is running. Spent is what its executions have cost; reserved is held for those that run."""

    period_start = serializers.DateField(read_only=True)
    period_end = serializers.DateField(read_only=True, help_text="The first day that is not part of it.")
    spent_usd = AmountField(read_only=True)
    reserved_usd = AmountField(read_only=True)
    remaining_usd = AmountField(read_only=True)


class BudgetSerializer(serializers.ModelSerializer[Budget]):
    """Of rows that `with_current_spend` has annotated."""

    limit_usd = LimitField()
    alert_at = serializers.ListField(child=serializers.FloatField(), read_only=True)
    current = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields = [
            "id",
            "organization_id",
            "name",
            "scope",
            "scope_id",
            "period",
            "limit_usd",
            "is_hard",
            "alert_at",
            "is_active",
            "current",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    @extend_schema_field(CurrentSpendSerializer)
    def get_current(self, budget: Any) -> dict[str, Any]:
        spent, reserved = budget.current_spent_usd or Decimal(0), budget.current_reserved_usd or Decimal(0)
        return {
            "period_start": budget.period_start(),
            "period_end": budget.period_end(),
            "spent_usd": f"{spent:f}",
            "reserved_usd": f"{reserved:f}",
            "remaining_usd": f"{budget.limit_usd - spent - reserved:f}",
        }
