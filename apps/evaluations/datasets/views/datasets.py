"""Datasets and their versions as resources."""

from typing import Any, ClassVar, cast

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.datasets import diff as comparison
from apps.evaluations.datasets import serializers as shapes
from apps.evaluations.datasets import services
from apps.evaluations.datasets.filters import DatasetFilter
from apps.evaluations.datasets.views.finding import OfDatasetViewSet, version_of
from apps.evaluations.models import Dataset
from apps.prompts.serializers import MAX_VERSION
from apps.users.tenancy import ResourceViewSet
from everquant.api.pagination import DEFAULT_PER_PAGE, MAX_PAGE, MAX_PER_PAGE, PagePagination, integer_parameter
from everquant.api.serializers import EmptySerializer


class DatasetViewSet(ResourceViewSet):
    queryset = Dataset.objects.all()
    serializer_class = shapes.DatasetSerializer
    filterset_class = DatasetFilter
    search_fields: ClassVar[list[str]] = ["slug", "name", "description"]
    ordering_fields: ClassVar[list[str]] = ["name", "slug", "created_at", "updated_at"]
    permissions = {
        "list": "datasets:read",
        "retrieve": "datasets:read",
        "create": "datasets:create",
        "update": "datasets:update",
        "partial_update": "datasets:update",
        "destroy": "datasets:delete",
        "undelete": "datasets:delete",
    }
    tagged_actions = ResourceViewSet.tagged_actions | {"undelete"}
    guarded_actions = ResourceViewSet.guarded_actions | {"undelete"}
    further_errors = {"update": (409,), "partial_update": (409,)}
    input_serializer_classes = {
        "create": shapes.DatasetInputSerializer,
        "update": shapes.DatasetInputSerializer,
        "partial_update": shapes.DatasetInputSerializer,
        "undelete": EmptySerializer,
    }

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: a row that changed while it was waited for would be lost with them."""
        if self.action in {"list", "retrieve"}:
            queryset = queryset.select_related("current_version")
        shows_deleted = self.action == "undelete" or (self.action == "list" and "deleted" in self.request.query_params)
        return queryset if shows_deleted else queryset.alive()

    def perform_create(self, data: dict[str, Any]) -> Dataset:
        return services.create_dataset(
            organization_id=self.principal.organization_id, created_by=cast("Any", self.request.user), **data
        )

    def perform_update(self, instance: Dataset, data: dict[str, Any]) -> Dataset:
        return services.update_dataset(dataset=instance, fields=data, updated_by=cast("Any", self.request.user))

    def perform_destroy(self, instance: Dataset) -> None:
        services.delete_dataset(dataset=instance)

    @transaction.atomic
    def undelete(self, request: Request, **kwargs: Any) -> Response:
        """Bring a deleted dataset back."""
        self.validated()
        return self.answer(services.undelete_dataset(dataset=self.get_object_for_write()))


_PAGING = [
    OpenApiParameter(one["name"], one["schema"]) for one in PagePagination().get_schema_operation_parameters(None)
]
_CHANGE = OpenApiParameter("change", {"type": "string", "enum": list(comparison.CHANGES)}, description="Only these.")
_WITH = OpenApiParameter(
    "with",
    {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
    description="The version to compare with; the one before by default.",
)


class DatasetVersionViewSet(OfDatasetViewSet):
    """The versions of one dataset, newest first; the object in the path is the dataset."""

    serializer_class = shapes.DatasetVersionSerializer
    permissions = {"list": "datasets:read", "retrieve": "datasets:read", "diff": "datasets:read"}
    query_parameters = {"diff": frozenset({"with", "change", "page", "per_page"})}
    output_serializer_classes = {"diff": shapes.DatasetDiffSerializer}

    def list(self, request: Request, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.get_object().versions.all())
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, number: int, **kwargs: Any) -> Response:
        return self.answer(version_of(self.get_object(), number, "number"))

    @extend_schema(parameters=[_WITH, _CHANGE, *_PAGING])
    def diff(self, request: Request, number: int, **kwargs: Any) -> Response:
        """What changed from the version `with` to this one; version 1 is compared with nothing by default."""
        change = request.query_params.get("change")
        if change is not None and change not in comparison.CHANGES:
            raise ValidationError({"change": [f"Must be one of: {', '.join(comparison.CHANGES)}."]})
        against = integer_parameter(request, "with", number - 1, MAX_VERSION)
        dataset = self.get_object()
        after = version_of(dataset, number, "number")
        rows = comparison.changed_positions(version_of(dataset, against, "with") if against else None, after)
        counts = comparison.count_changes(rows)
        per_page = integer_parameter(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        start = (integer_parameter(request, "page", 1, MAX_PAGE) - 1) * per_page
        wanted = rows.filter(comparison.CHANGES[change]) if change else rows
        changes = comparison.with_items(wanted[start : start + per_page])
        found = {"from_version": against or None, "to_version": number, "counts": counts, "changes": changes}
        return Response(self.represent(found))
