import django_filters

from apps.evaluations.models import JudgeAgreement
from apps.prompts.serializers import MAX_VERSION


class AgreementFilter(django_filters.FilterSet):
    evaluator_id = django_filters.UUIDFilter(field_name="evaluator_version__evaluator_id")
    version = django_filters.NumberFilter(
        field_name="evaluator_version__version_number", min_value=1, max_value=MAX_VERSION
    )
    evaluation_id = django_filters.UUIDFilter()

    class Meta:
        model = JudgeAgreement
        fields: list[str] = []
