from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.models import services
from apps.models.filters import ModelFilter, ProviderFilter
from apps.models.models import LLMModel, ModelFallback, Provider
from apps.models.prices import CatalogEntry, search_catalog
from apps.models.serializers import (
    CatalogEntrySerializer,
    CheckProviderSerializer,
    CheckResultSerializer,
    ModelSerializer,
    ProviderSerializer,
)
from apps.users.tenancy import ResourceViewSet
from everquant.api.filters import MAX_PARAMETER_LENGTH
from everquant.api.idempotency import given_key
from everquant.api.serializers import EmptySerializer
from everquant.db import assert_no_transaction, release_connection
from everquant.network.address import validate_base_url

_MANAGE = "models:manage"
_TEXT = {"type": "string", "maxLength": MAX_PARAMETER_LENGTH, "pattern": r"^[^\u0000]*$"}


class ProviderViewSet(ResourceViewSet):
    queryset = Provider.objects.all()
    serializer_class = ProviderSerializer
    filterset_class = ProviderFilter
    search_fields = ["name", "base_url"]
    ordering_fields = ["name", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = dict.fromkeys(
        ["list", "retrieve", "create", "update", "partial_update", "destroy", "test"], _MANAGE
    )
    network_actions = frozenset({"test"})
    further_errors = {"update": (409,), "partial_update": (409,), "destroy": (409,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {"test": CheckProviderSerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {"test": CheckResultSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def check_ahead(self, request: Request) -> None:
        if self.action in {"create", "update", "partial_update"}:
            refuse_inside_url(request.data)

    def perform_create(self, data: dict[str, Any]) -> Provider:
        return services.create_provider(organization_id=self.principal.organization_id, **data)

    def perform_update(self, instance: Provider, data: dict[str, Any]) -> Provider:
        return services.update_provider(provider=instance, **data)

    def perform_destroy(self, instance: Provider) -> None:
        services.delete_provider(provider=instance)

    @extend_schema(summary="Make one small real call")
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The answer is a 200 also when the provider fails: `is_ok` and `error` say so. Each request makes a call."""
        given_key(request)
        provider = self.get_object()
        model_name = self.validated().get("model", "")
        return Response(self.represent(services.check_provider(provider=provider, model_name=model_name)))


def refuse_inside_url(data: Any) -> None:
    """Outside of a transaction, as it may look a name up. What is no plain URL is the serializer's to refuse."""
    url = data.get("base_url") if isinstance(data, dict) else None
    if isinstance(url, str) and url:
        assert_no_transaction()
        release_connection()
        try:
            validate_base_url(url, allow_private=settings.ALLOW_PRIVATE_PROVIDER_URLS)
        except ValueError as error:
            raise ValidationError({"base_url": [str(error)]}) from None


class ModelViewSet(ResourceViewSet):
    queryset = LLMModel.objects.all()
    serializer_class = ModelSerializer
    filterset_class = ModelFilter
    search_fields = ["slug", "name", "provider_model_name"]
    ordering_fields = ["slug", "name", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = {
        **dict.fromkeys(["create", "update", "partial_update", "destroy", "test"], _MANAGE),
        **dict.fromkeys(["list", "retrieve", "catalog"], "prompts:read"),
    }
    query_parameters: ClassVar[dict[str, frozenset[str]]] = {
        "catalog": frozenset({"page", "per_page", "search", "provider"})
    }
    network_actions = frozenset({"test"})
    further_errors = {"update": (409,), "partial_update": (409,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {"test": EmptySerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {
        "test": CheckResultSerializer,
        "catalog": CatalogEntrySerializer,
    }

    def refine(self, queryset: Any) -> Any:
        fallbacks = ModelFallback.objects.filter(model=OuterRef("pk")).order_by("position").values("fallback_id")
        return queryset.alive().with_provider().annotate(fallback_ids=ArraySubquery(fallbacks))

    def perform_create(self, data: dict[str, Any]) -> LLMModel:
        fallbacks = data.pop("fallback_ids", None)
        return services.create_model(organization_id=self.principal.organization_id, fallbacks=fallbacks, **data)

    def perform_update(self, instance: LLMModel, data: dict[str, Any]) -> LLMModel:
        fallbacks = data.pop("fallback_ids", None)
        return services.update_model(model=instance, fallbacks=fallbacks, **data)

    def perform_destroy(self, instance: LLMModel) -> None:
        services.delete_model(model=instance)

    @extend_schema(summary="Make one small real call")
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The answer is a 200 also when the provider fails: `is_ok` and `error` say so. Each request makes a call."""
        given_key(request)
        model = self.get_object()
        self.validated()
        return Response(self.represent(services.check_model(model=model)))

    @extend_schema(
        summary="Known models and their prices",
        responses=CatalogEntrySerializer(many=True),
        filters=False,
        parameters=[
            OpenApiParameter("search", _TEXT, description="Words that must occur in: provider, model, name."),
            OpenApiParameter("provider", _TEXT, description="The provider's id in the catalog, such as `openai`."),
        ],
    )
    def catalog(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        words = request.query_params.get("search", "").split()
        found = search_catalog(words=words, provider=request.query_params.get("provider", ""))
        page = self.paginate_queryset(cast("Any", _Entries(found)))
        return self.get_paginated_response(self.represent(page, many=True))


class _Entries:
    """A list that is paged as a queryset is."""

    def __init__(self, entries: list[CatalogEntry]) -> None:
        self._entries = entries

    def count(self) -> int:
        return len(self._entries)

    def __getitem__(self, rows: slice) -> list[CatalogEntry]:
        return self._entries[rows]
