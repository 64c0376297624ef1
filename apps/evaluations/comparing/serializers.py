"""Comparisons and gates as they are asked for and answered."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.comparing.rules import RULES_SCHEMA, Rule, parse_rules
from everquant.api.errors import BadRequest


@extend_schema_field(RULES_SCHEMA)
class RulesField(serializers.Field[Any, Any, Any, Any]):
    """The rules of a gate, answered with every default said."""

    def to_internal_value(self, data: Any) -> list[Rule]:
        try:
            return parse_rules(data, at="")
        except BadRequest as error:
            details = {path.lstrip("."): [why] for path, why in error.details.items()}
            raise serializers.ValidationError(details) from error

    def to_representation(self, value: Any) -> Any:
        return value
