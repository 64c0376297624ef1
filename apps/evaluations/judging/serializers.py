"""Agreements of judges as they are asked for and answered."""

from typing import Any

from rest_framework import serializers

from apps.evaluations.judging.representation import represent_agreement
from apps.evaluations.models import NAME_LENGTH, Evaluation, Weighting
from apps.evaluations.models.agreements import LABEL_KEY_LENGTH
from apps.evaluations.scoring.serializers import NumberField
from apps.prompts.serializers import MAX_VERSION
from everquant.api.serializers import ScopedField, StrictCharField, StrictIntegerField, StrictSerializer


class MeasureSerializer(StrictSerializer):
    """An evaluation of recorded outputs that people have labelled, scored by the judge."""

    evaluation_id = ScopedField(queryset=Evaluation.objects.all(), source="evaluation")
    subject = StrictCharField(
        default=None, allow_null=True, max_length=NAME_LENGTH, help_text="The recorded one by default."
    )
    label: Any = StrictCharField(
        default="label", max_length=LABEL_KEY_LENGTH, help_text="The key of people's labels in the items' metadata."
    )
    version = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_VERSION,
        help_text="Of the judge, where the evaluation was scored by several.",
    )
    weighting = serializers.ChoiceField(
        Weighting.choices,
        default=None,
        allow_null=True,
        help_text="none by default, and quadratic for numbers, for which it is the only one.",
    )
    threshold = NumberField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=1,
        help_text="What the interval's lower end is to reach; the server's least by default.",
    )

    def validate_weighting(self, value: str | None) -> Weighting | None:
        return None if value is None else Weighting(value)


class AgreementSerializer(serializers.Serializer):
    """`n` items have a label and a judgement, `n_missing` only a label, `n_unlabelled` none."""

    id = serializers.UUIDField()
    evaluator_id = serializers.UUIDField()
    version = serializers.IntegerField(help_text="Of the judge.")
    evaluation_id = serializers.UUIDField(allow_null=True, help_text="Null when it was deleted.")
    subject = serializers.CharField()
    label: Any = serializers.CharField()
    weighting = serializers.ChoiceField(Weighting.choices)
    threshold = serializers.FloatField()
    n = serializers.IntegerField()
    n_missing = serializers.IntegerField()
    n_unlabelled = serializers.IntegerField()
    kappa = serializers.FloatField(help_text="Cohen's kappa.")
    ci_low = serializers.FloatField(help_text="The lower end of the 95 % interval.")
    ci_high = serializers.FloatField()
    categories = serializers.ListField(child=serializers.CharField())
    confusion = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="A row for each category as people gave it, with the counts of each as the judge gave it.",
    )
    provider_model = serializers.CharField(help_text="What judged.")
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return represent_agreement(instance)


class StandingSerializer(serializers.Serializer):
    """Whether a gate may rely on the evaluator's current version."""

    evaluator_id = serializers.UUIDField()
    version = serializers.IntegerField()
    may_gate = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True, help_text="Why it may not.")
    agreement = AgreementSerializer(allow_null=True, help_text="The newest one of the version.")

    def to_representation(self, instance: Any) -> Any:
        return instance
