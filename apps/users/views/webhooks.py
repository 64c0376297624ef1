"""The organization's webhooks and what was delivered to them."""

from typing import Any, ClassVar

from django.db import transaction
from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks import services
from apps.organizations.webhooks.filters import DeliveryFilter, WebhookFilter
from apps.organizations.webhooks.sending import check_url
from apps.organizations.webhooks.serializers import (
    NewWebhookSerializer,
    WebhookDeliveryDetailSerializer,
    WebhookDeliverySerializer,
    WebhookSerializer,
)
from apps.users.tenancy import ListMixin, ResourceViewSet, TenantViewSet
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer
from everquant.db import assert_no_transaction, release_connection

_MANAGE = "webhooks:manage"


class WebhookViewSet(ResourceViewSet):
    """URLs that are sent signed events (Standard Webhooks)."""

    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    filterset_class = WebhookFilter
    search_fields = ["name", "url"]
    ordering_fields = ["name", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = dict.fromkeys(
        ["list", "retrieve", "create", "update", "partial_update", "destroy", "rotate_secret", "test"], _MANAGE
    )
    tagged_actions = TenantViewSet.tagged_actions | {"rotate_secret"}
    guarded_actions = TenantViewSet.guarded_actions | {"rotate_secret"}
    input_serializer_classes: ClassVar[dict[str, Any]] = {"rotate_secret": EmptySerializer, "test": EmptySerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {
        "create": NewWebhookSerializer,
        "rotate_secret": NewWebhookSerializer,
        "test": WebhookDeliverySerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def check_ahead(self, request: Request) -> None:
        if self.action in {"create", "update", "partial_update"}:
            refuse_inside_url(request.data)

    def perform_create(self, data: dict[str, Any]) -> WebhookEndpoint:
        return _with_secret(*services.create_endpoint(organization_id=self.principal.organization_id, **data))

    def perform_update(self, instance: WebhookEndpoint, data: dict[str, Any]) -> WebhookEndpoint:
        return services.update_endpoint(endpoint=instance, **data)

    def perform_destroy(self, instance: WebhookEndpoint) -> None:
        services.delete_endpoint(endpoint=instance)

    @extend_schema(summary="Replace the secret")
    @transaction.atomic
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """A new secret. For 24 hours the old one signs as well: each delivery then has two signatures."""
        self.validated()
        endpoint = self.get_object_for_write()
        _with_secret(endpoint, services.rotate_secret(endpoint=endpoint))
        return self.answer(endpoint, headers={"ETag": self.etag_of_read(endpoint)})

    @extend_schema(summary="Send a test", responses={201: WebhookDeliverySerializer})
    def test(self, request: Request, pk: str) -> Response:
        """A `webhook.test` is on its way: read the delivery to see what came of it. It is tried once."""
        self.validated()
        delivery = services.send_test(endpoint=self.get_object())
        location = f"{request.path.rpartition('/')[0]}/deliveries/{delivery.id}"
        return Response(self.represent(delivery), status=201, headers={"Location": location})


def _with_secret(endpoint: WebhookEndpoint, secret: str) -> WebhookEndpoint:
    endpoint.secret = secret  # type: ignore[attr-defined] # shown by NewWebhookSerializer
    return endpoint


def refuse_inside_url(data: Any) -> None:
    """Outside of a transaction, as it may look a name up. What is no plain URL is the serializer's to refuse."""
    url = data.get("url") if isinstance(data, dict) else None
    if isinstance(url, str):
        assert_no_transaction()
        release_connection()
        try:
            check_url(url.strip())
        except ValueError as error:
            raise ValidationError({"url": [str(error)]}) from None


class WebhookDeliveryViewSet(ListMixin, TenantViewSet):
    """What was sent to one webhook, newest first. Deliveries are kept for 30 days."""

    queryset = WebhookDelivery.objects.all()
    serializer_class = WebhookDeliverySerializer
    filterset_class = DeliveryFilter
    pagination_class = KeysetPagination
    permissions: ClassVar[dict[str, str]] = dict.fromkeys(["list", "retrieve", "redeliver"], _MANAGE)
    further_errors = {"redeliver": (409,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {"redeliver": EmptySerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {"retrieve": WebhookDeliveryDetailSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(endpoint_id=self.kwargs["pk"], endpoint__deleted_at__isnull=True)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        endpoints = WebhookEndpoint.objects.for_organization(self.principal.organization_id).alive()
        if not endpoints.filter(id=self.kwargs["pk"]).exists():
            raise Http404
        return super().list(request, *args, **kwargs)

    def retrieve(self, request: Request, pk: str, delivery_id: str) -> Response:
        """Read a delivery with each of its attempts."""
        return self.answer(self._delivery(delivery_id))

    @extend_schema(summary="Deliver again")
    def redeliver(self, request: Request, pk: str, delivery_id: str) -> Response:
        """Sends it now, under the same `webhook-id`, and again for a day if need be."""
        self.validated()
        return Response(self.represent(services.redeliver(delivery=self._delivery(delivery_id))))

    def _delivery(self, delivery_id: str) -> WebhookDelivery:
        try:
            found: WebhookDelivery = self.get_queryset().get(id=delivery_id)
        except WebhookDelivery.DoesNotExist:
            raise Http404 from None
        return found
