from typing import ClassVar

import django_filters

from apps.evaluations.models import Annotation, AnnotationStatus


class AnnotationFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=AnnotationStatus.choices)
    annotator_id = django_filters.UUIDFilter()
    task_id = django_filters.UUIDFilter()

    class Meta:
        model = Annotation
        fields: ClassVar[list[str]] = []
