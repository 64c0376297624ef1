import django_filters

from apps.organizations.models import DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint
from everquant.api.filters import TrueFalseFilter


class WebhookFilter(django_filters.FilterSet):
    is_active = TrueFalseFilter()

    class Meta:
        model = WebhookEndpoint
        fields: list[str] = []


class DeliveryFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=DeliveryStatus.choices)
    event_type = django_filters.ChoiceFilter(choices=EventType.choices)

    class Meta:
        model = WebhookDelivery
        fields: list[str] = []
