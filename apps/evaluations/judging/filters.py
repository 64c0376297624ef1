import django_filters
from drf_spectacular.utils import extend_schema_field

from apps.evaluations.models import JudgeAgreement
from apps.prompts.serializers import MAX_VERSION


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_VERSION})
class VersionFilter(django_filters.NumberFilter):
    """The number of a version."""


class AgreementFilter(django_filters.FilterSet):
    evaluator_id = django_filters.UUIDFilter(field_name="evaluator_version__evaluator_id")
    version = VersionFilter(
        field_name="evaluator_version__version_number", min_value=1, max_value=MAX_VERSION, decimal_places=0
    )
    evaluation_id = django_filters.UUIDFilter()

    class Meta:
        model = JudgeAgreement
        fields: list[str] = []
