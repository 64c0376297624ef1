from django.core.validators import RegexValidator
from rest_framework import serializers

from apps.organizations.models import Organization
from everquant.api.serializers import StrictCharField, StrictModelSerializer
from everquant.network.hosts import MAX_PATTERN, PATTERN

MAX_PROTECTED_LABELS = 50
MAX_HTTP_HOSTS = 100


class OrganizationSerializer(StrictModelSerializer):
    name = StrictCharField(max_length=200)
    protected_labels = serializers.ListField(
        child=StrictCharField(
            trim_whitespace=False, max_length=64, validators=[RegexValidator(r"\A[a-z][a-z0-9]*([-_.][a-z0-9]+)*\Z")]
        ),
        max_length=MAX_PROTECTED_LABELS,
        help_text="Labels that only those with prompts:protect or workflows:protect may move.",
    )

    http_hosts = serializers.ListField(
        child=StrictCharField(trim_whitespace=False, max_length=MAX_PATTERN, validators=[RegexValidator(PATTERN)]),
        max_length=MAX_HTTP_HOSTS,
        help_text="Hosts that http nodes of workflows may call: `api.example.com`, `*.example.com`, "
        "`api.example.com:8443`. Without a port that of the scheme.",
    )

    class Meta:
        model = Organization
        fields = ["id", "name", "slug", "is_active", "protected_labels", "http_hosts", "created_at", "updated_at"]
        read_only_fields = ["slug", "is_active"]

    def validate_protected_labels(self, labels: list[str]) -> list[str]:
        return list(dict.fromkeys(labels))

    def validate_http_hosts(self, hosts: list[str]) -> list[str]:
        return list(dict.fromkeys(hosts))
