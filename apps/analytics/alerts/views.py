"""Alerts as resources, what they see, and what they have told of."""

from typing import Any, ClassVar

from django.db import transaction
from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics.alerts import serializers as shapes
from apps.analytics.alerts import services
from apps.analytics.alerts.filters import AlertFilter
from apps.analytics.alerts.measuring import measure
from apps.analytics.alerts.trying import send_test
from apps.analytics.models import Alert, AlertEvent
from apps.users.tenancy import ListMixin, ResourceViewSet, TenantViewSet
from everquant.api.idempotency import given_key
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer

_READ, _MANAGE = "analytics:read", "organization:manage"


class AlertViewSet(ResourceViewSet):
    """Who is told when a figure goes where it should not."""

    queryset = Alert.objects.all()
    serializer_class = shapes.AlertSerializer
    filterset_class = AlertFilter
    search_fields: ClassVar[list[str]] = ["name"]
    ordering_fields: ClassVar[list[str]] = ["name", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = {
        **dict.fromkeys(["list", "retrieve", "current"], _READ),
        **dict.fromkeys(["create", "update", "partial_update", "destroy", "mute", "unmute", "test"], _MANAGE),
    }
    network_actions = frozenset({"test"})
    tagged_actions = TenantViewSet.tagged_actions | {"mute", "unmute"}
    guarded_actions = TenantViewSet.guarded_actions | {"mute", "unmute"}
    further_errors = {"test": (409,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(["create", "update", "partial_update"], shapes.AlertInputSerializer),
        **dict.fromkeys(["unmute", "test"], EmptySerializer),
        "mute": shapes.MuteSerializer,
    }
    output_serializer_classes: ClassVar[dict[str, Any]] = {
        "current": shapes.CurrentSerializer,
        "test": shapes.TestedSerializer,
    }

    def perform_create(self, data: dict[str, Any]) -> Alert:
        return services.create_alert(organization_id=self.principal.organization_id, **data)

    def perform_update(self, instance: Alert, data: dict[str, Any]) -> Alert:
        return services.update_alert(alert=instance, **data)

    def perform_destroy(self, instance: Alert) -> None:
        services.delete_alert(alert=instance)

    @extend_schema(summary="Mute an alert")
    @transaction.atomic
    def mute(self, request: Request, pk: str) -> Response:
        """Nobody is told of anything until then. What still holds then is told."""
        said = self.validated()
        return self.answer(services.mute(alert=self.get_object_for_write(), **said))

    @extend_schema(summary="Unmute an alert")
    @transaction.atomic
    def unmute(self, request: Request, pk: str) -> Response:
        """What nobody was told of meanwhile, and still holds, is told now."""
        self.validated()
        return self.answer(services.unmute(alert=self.get_object_for_write()))

    @extend_schema(summary="What an alert sees now")
    def current(self, request: Request, pk: str) -> Response:
        """Its metric up to this moment, as the next evaluation would see it. Nothing is told."""
        return Response(self.represent(measure(self.get_object(), timezone.now())))

    @extend_schema(summary="Test an alert")
    def test(self, request: Request, pk: str) -> Response:
        """Tells everybody whom the alert would tell, marked as a test, and answers what came of it.

        The answer is a 200 also when nobody could be told. Once in ten seconds.
        """
        given_key(request)
        alert = self.get_object()
        self.validated()
        return Response(self.represent(send_test(alert=alert)))


class AlertEventViewSet(ListMixin, TenantViewSet):
    """When an alert has fired, and for what; newest first, for 400 days."""

    queryset = AlertEvent.objects.prefetch_related("letters")
    serializer_class = shapes.AlertEventSerializer
    pagination_class = KeysetPagination
    permissions: ClassVar[dict[str, str]] = {"list": _READ}

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(alert_id=self.kwargs["pk"])

    @extend_schema(summary="History of an alert")
    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not Alert.objects.for_organization(self.principal.organization_id).filter(id=kwargs["pk"]).exists():
            raise Http404
        return super().list(request, *args, **kwargs)
