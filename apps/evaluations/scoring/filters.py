import django_filters
from drf_spectacular.utils import extend_schema_field

from apps.evaluations.models import Evaluator, ScoreConfig, ScoreType
from apps.prompts.filters import STORABLE
from apps.prompts.models import SLUG_LENGTH


@extend_schema_field({"type": "string", "maxLength": SLUG_LENGTH, "pattern": STORABLE})
class NameFilter(django_filters.CharFilter):
    """Of a slug or a kind."""


class EvaluatorFilter(django_filters.FilterSet):
    slug = NameFilter(max_length=SLUG_LENGTH)
    kind = NameFilter(max_length=SLUG_LENGTH)
    created_by = django_filters.UUIDFilter(field_name="created_by_id")

    class Meta:
        model = Evaluator
        fields: list[str] = []


class ScoreConfigFilter(django_filters.FilterSet):
    type = django_filters.ChoiceFilter(choices=ScoreType.choices)

    class Meta:
        model = ScoreConfig
        fields: list[str] = []
