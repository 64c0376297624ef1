from django.core.validators import RegexValidator
from rest_framework import serializers

from apps.organizations.models import Organization
from everquant.api.serializers import StrictCharField, StrictModelSerializer

MAX_PROTECTED_LABELS = 50


class OrganizationSerializer(StrictModelSerializer):
    name = StrictCharField(max_length=200)
    protected_labels = serializers.ListField(
        child=StrictCharField(
            trim_whitespace=False, max_length=64, validators=[RegexValidator(r"\A[a-z][a-z0-9]*([-_.][a-z0-9]+)*\Z")]
        ),
        max_length=MAX_PROTECTED_LABELS,
        help_text="Labels that only those with prompts:protect or workflows:protect may move.",
    )

    class Meta:
        model = Organization
        fields = ["id", "name", "slug", "is_active", "protected_labels", "created_at", "updated_at"]
        read_only_fields = ["slug", "is_active"]

    def validate_protected_labels(self, labels: list[str]) -> list[str]:
        return list(dict.fromkeys(labels))
