"""Results of A/B tests as they are answered, and plans as they are asked for."""

from typing import Any

from rest_framework import serializers

from apps.evaluations.ab_tests.measures import Aggregation, Direction
from apps.evaluations.ab_tests.serializers import LARGEST, MEASURE, SMALLEST_EFFECT, WeightsField
from apps.evaluations.ab_tests.sizing import SizeWish
from apps.evaluations.ab_tests.variants import weight_problem
from apps.evaluations.models import ABIncident
from apps.prompts.models import MAX_VARIANTS, ABTest, ABTestStatus, Prompt
from everquant.api.serializers import (
    JSONObjectField,
    ScopedField,
    StrictCharField,
    StrictFloatField,
    StrictSerializer,
)

AGGREGATIONS = [one.value for one in Aggregation]


def _number(help_text: str = "") -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=help_text)


class ABDifferenceSerializer(serializers.Serializer[Any]):
    """The candidate's value less the control's, phase by phase. Levels of intervals are divided by the number of
    candidates, and p is multiplied by it (Bonferroni).
    """

    value = serializers.FloatField()
    low = _number("Of the confidence sequence, which holds at every look; null before each has 50 units in a phase.")
    high = _number()
    relative = _number("As a share of the control's value.")
    p_value = _number("Of a test for one look, like the interval: valid only at the planned number of units.")
    fixed_low = _number()
    fixed_high = _number()
    is_fixed_horizon_reached = serializers.BooleanField(
        help_text="Whether the planned number of units has a value: the test for one look was for that moment."
    )
    probability_best = _number("Of all variants, by a normal approximation: a display, no decision.")
    expected_loss = _number("What choosing it is expected to lose to the best one, in the metric's unit.")
    verdict = serializers.ChoiceField(
        ["better", "worse", "undecided"], help_text="By the confidence sequence; it may be believed at any time."
    )


class ABMetricArmSerializer(serializers.Serializer[Any]):
    variant = serializers.CharField()
    units = serializers.IntegerField(help_text="Those that have a value.")
    value = _number("Over phases, each with as much weight as it has units.")
    low = _number("Of a confidence sequence; null for fewer than 50 units.")
    high = _number()
    coverage = _number("Units with a value, as a share of those exposed.")
    difference = ABDifferenceSerializer(allow_null=True)


class ABMetricResultSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    measure = serializers.CharField()
    aggregation = serializers.ChoiceField(AGGREGATIONS)
    direction = serializers.ChoiceField([one.value for one in Direction])
    is_primary = serializers.BooleanField()
    min_effect = _number("Of the primary metric.")
    arms = ABMetricArmSerializer(many=True)


class ABGuardrailArmSerializer(serializers.Serializer[Any]):
    """`broken` and `ok` are certain whenever one looks, by one-sided bounds."""

    variant = serializers.CharField()
    value = _number()
    control_value = _number()
    low = _number("Of the value less the control's, in the measure's unit; null where there is no bound.")
    high = _number()
    status = serializers.ChoiceField(["ok", "unknown", "broken"])


class ABGuardrailResultSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    measure = serializers.CharField()
    margin = serializers.FloatField()
    is_relative = serializers.BooleanField()
    arms = ABGuardrailArmSerializer(many=True)


class ABSampleRatioSerializer(serializers.Serializer[Any]):
    """Whether units came as the weights say. `p_value` is null for too few units, and of a bandit."""

    p_value = _number()
    is_mismatch = serializers.BooleanField(help_text="p < 0.001: something loses units of one variant.")
    expected = WeightsField()
    observed = WeightsField()


class ABArmSerializer(serializers.Serializer[Any]):
    variant = serializers.CharField()
    is_control = serializers.BooleanField()
    weight = serializers.FloatField()
    units = serializers.IntegerField()
    exposures = serializers.IntegerField()


class ABPhaseUnitsSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    weights = WeightsField()
    units = serializers.IntegerField()
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ABIncidentSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(ABIncident.Kind.choices)
    variant = serializers.CharField()
    message = serializers.CharField()
    created_at = serializers.DateTimeField()


class ABPromotableSerializer(serializers.Serializer[Any]):
    variant = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField(), help_text="What speaks against it all the same.")


class ABResultsSerializer(serializers.Serializer[Any]):
    """`as_of` is when they were computed: those of the stop are kept."""

    test_id = serializers.UUIDField()
    status = serializers.ChoiceField(ABTestStatus.choices)
    as_of = serializers.DateTimeField()
    mode = serializers.ChoiceField(ABTest.Mode.choices)
    units = serializers.IntegerField()
    exposures = serializers.IntegerField()
    planned_units = serializers.IntegerField(allow_null=True)
    primary_metric = serializers.CharField()
    phases = ABPhaseUnitsSerializer(many=True)
    sample_ratio = ABSampleRatioSerializer()
    arms = ABArmSerializer(many=True)
    metrics = ABMetricResultSerializer(many=True)
    guardrails = ABGuardrailResultSerializer(many=True)
    incidents = ABIncidentSerializer(many=True)
    conclusion = serializers.CharField(help_text="What may be concluded, and what not.")
    can_promote = ABPromotableSerializer(allow_null=True, help_text="The best candidate for certain.")
    warnings = serializers.ListField(child=serializers.CharField())


class ABPointSerializer(serializers.Serializer[Any]):
    """What the results said at a moment: `metrics` is metric → variant → n, value, difference, low, high."""

    taken_at = serializers.DateTimeField()
    units = serializers.IntegerField()
    metrics = JSONObjectField()


class ABSeriesSerializer(serializers.Serializer[Any]):
    points = ABPointSerializer(many=True)


class ABPlanInputSerializer(StrictSerializer):
    """What the prompt's calls of the last 14 days tell of the metric need not be said."""

    prompt_id = ScopedField(queryset=Prompt.objects.alive(), source="prompt", default=None, allow_null=True)
    measure = StrictCharField(
        trim_whitespace=False, validators=[MEASURE], default="success", help_text="As of a test's metrics."
    )
    aggregation = serializers.ChoiceField(AGGREGATIONS, default=Aggregation.MEAN.value)
    min_effect = StrictFloatField(
        min_value=SMALLEST_EFFECT,
        max_value=LARGEST,
        help_text="The smallest difference that is to be found, in the metric's unit.",
    )
    baseline = StrictFloatField(
        min_value=-LARGEST, max_value=LARGEST, default=None, allow_null=True, help_text="The control's value."
    )
    standard_deviation = StrictFloatField(
        min_value=0, max_value=LARGEST, default=None, allow_null=True, help_text="Of one unit's value."
    )
    alpha = StrictFloatField(default=0.05, min_value=0.0001, max_value=0.25)
    power = StrictFloatField(default=0.8, min_value=0.5, max_value=0.99)
    weights = serializers.ListField(
        child=StrictFloatField(min_value=0, max_value=1),
        min_length=2,
        max_length=MAX_VARIANTS,
        required=False,
        help_text="Shares of units, the control's first, 1 together; half and half by default.",
    )
    exposed_share = StrictFloatField(default=1.0, min_value=0, max_value=1)

    def validate_weights(self, weights: list[float]) -> list[float]:
        problem = weight_problem(weights)
        if not problem and not (weights[0] and any(weights[1:])):
            problem = "The control and another variant must have a weight."
        if problem:
            raise serializers.ValidationError(problem)
        return weights

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        prompt = attrs.pop("prompt")
        wish = SizeWish(**{"weights": [0.5, 0.5], **attrs})
        if wish.is_share and wish.baseline is not None and not 0 <= wish.baseline <= 1:
            raise serializers.ValidationError({"baseline": ["A share from 0 to 1 is expected."]})
        return {"prompt": prompt, "wish": wish}


class ABPlanSerializer(serializers.Serializer[Any]):
    """How many units show the effect with the power, and how long that takes."""

    units = serializers.IntegerField(help_text="Over all variants, for a decision that holds however often one looks.")
    units_per_arm = serializers.ListField(child=serializers.IntegerField(), help_text="In the order of the weights.")
    fixed_units = serializers.IntegerField(help_text="What a single look at the end would need.")
    days = serializers.IntegerField(allow_null=True, help_text="At the traffic of late; null where it is unknown.")
    baseline = _number()
    standard_deviation = serializers.FloatField(help_text="Of one unit's value.")
    source = serializers.ChoiceField(  # type: ignore[assignment] # a field's name, not its option
        ["given", "history"], help_text="What says how the values are."
    )
    daily_units = _number("New units a day.")
    assumptions = serializers.ListField(child=serializers.CharField())
