"""The items of one dataset; each write makes one new version of it."""

from typing import Any, ClassVar, cast
from uuid import UUID

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.datasets import serializers as shapes
from apps.evaluations.datasets import services
from apps.evaluations.datasets.filters import ItemFilter, PositionPagination, searchable
from apps.evaluations.datasets.items import InvalidItem, parse_item, said_of
from apps.evaluations.datasets.services.executions import add_executions
from apps.evaluations.datasets.services.items import Written
from apps.evaluations.datasets.services.versions import content_of
from apps.evaluations.datasets.views.finding import VERSION_PARAMETER, OfDatasetViewSet, version_asked_for
from apps.evaluations.models import Dataset, DatasetItem, OnDuplicate
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import BadRequest, Forbidden

_WRITES = frozenset({"add", "delete_many", "from_executions", "splits"})


class DatasetItemViewSet(OfDatasetViewSet):
    serializer_class = shapes.DatasetItemSerializer
    filterset_class = ItemFilter
    pagination_class = PositionPagination
    search_fields: ClassVar[list[str]] = ["input_text", "expected_text"]
    permissions = {
        "list": "datasets:read",
        "retrieve": "datasets:read",
        "add": "datasets:update",
        "update": "datasets:update",
        "partial_update": "datasets:update",
        "destroy": "datasets:update",
        "delete_many": "datasets:update",
        "from_executions": "datasets:update",
        "splits": "datasets:update",
    }
    query_parameters = {"list": frozenset({"version"})}
    guarded_actions = OfDatasetViewSet.guarded_actions | _WRITES
    further_errors = {"update": (409,), "partial_update": (409,), "destroy": (409,)}
    input_serializer_classes = {
        "add": shapes.AddItemsSerializer,
        "update": shapes.ItemInputSerializer,
        "partial_update": shapes.ItemInputSerializer,
        "delete_many": shapes.DeleteItemsSerializer,
        "from_executions": shapes.FromExecutionsSerializer,
        "splits": shapes.SplitsSerializer,
    }
    output_serializer_classes = dict.fromkeys(_WRITES, shapes.WrittenSerializer)

    def allowed_parameters(self) -> frozenset[str]:
        return super().allowed_parameters() | self.query_parameters.get(self.action, frozenset())

    @extend_schema(parameters=[VERSION_PARAMETER])
    def list(self, request: Request, **kwargs: Any) -> Response:
        dataset = self.get_object()
        version = version_asked_for(request, dataset)
        items = DatasetItem.objects.of_version(version) if version else DatasetItem.objects.none()
        items = searchable(items) if "search" in request.query_params else items
        page = self.paginate_queryset(self.filter_queryset(items))
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, item_id: UUID, **kwargs: Any) -> Response:
        """Read an item, of whatever version."""
        return self.answer(_item(self.get_object(), item_id))

    @transaction.atomic
    def add(self, request: Request, **kwargs: Any) -> Response:
        """Add items. Up to 1,000, at the end; files take `import`."""
        data = self.validated()
        data["on_duplicate"] = OnDuplicate(data["on_duplicate"])
        dataset = self.get_object_for_write()
        return self._written(dataset, services.add_items(dataset=dataset, **data, created_by=self._user))

    def update(self, request: Request, item_id: UUID, **kwargs: Any) -> Response:
        """Replace an item. The new one has another id and the same place; If-Match is the item's own ETag."""
        return self._replace(item_id, partial=False)

    def partial_update(self, request: Request, item_id: UUID, **kwargs: Any) -> Response:
        """Change an item. The new one has another id and the same place; If-Match is the item's own ETag."""
        return self._replace(item_id, partial=True)

    @transaction.atomic
    def _replace(self, item_id: UUID, *, partial: bool) -> Response:
        data = self.validated(partial=partial)
        dataset = self.get_object_for_write()
        item = self._current_item(dataset, item_id)
        try:
            new = parse_item({**said_of(content_of(item)), **data} if partial else data)
        except InvalidItem as error:
            raise BadRequest("The item is not valid.", details=dict(error.problems)) from None
        return self.answer(services.replace_item(dataset=dataset, item=item, new=new, created_by=self._user))

    @transaction.atomic
    def destroy(self, request: Request, item_id: UUID, **kwargs: Any) -> Response:
        """Delete an item. Older versions keep it."""
        dataset = self.get_object_for_write()
        item = self._current_item(dataset, item_id)
        services.delete_items(dataset=dataset, ids=[item.pk], message="Deleted an item", created_by=self._user)
        return Response(status=204)

    @transaction.atomic
    def delete_many(self, request: Request, **kwargs: Any) -> Response:
        """Delete items. Those that are not in the newest version are passed over; older versions keep them."""
        data = self.validated()
        dataset = self.get_object_for_write()
        return self._written(dataset, services.delete_items(dataset=dataset, **data, created_by=self._user))

    @transaction.atomic
    def from_executions(self, request: Request, **kwargs: Any) -> Response:
        """Add executions as items. The newest that the filter finds; needs `executions:read` too."""
        if not self.principal.can("executions:read"):
            raise Forbidden("executions:read is needed to read executions.")
        data = self.validated()
        dataset = self.get_object_for_write()
        written = add_executions(
            dataset=dataset,
            criteria=data["filter"],
            limit=data["limit"],
            with_output=data["with_output"],
            expects_output=data["expected"] == "output",
            split=data["split"],
            on_duplicate=OnDuplicate(data["on_duplicate"]),
            message=data["message"] or "Items from executions",
            created_by=self._user,
        )
        return self._written(dataset, written)

    @transaction.atomic
    def splits(self, request: Request, **kwargs: Any) -> Response:
        """Assign splits. By a hash of the seed and each item's content: items keep theirs when others are added."""
        data = self.validated()
        data["message"] = data["message"] or "Assigned splits"
        dataset = self.get_object_for_write()
        return self._written(dataset, services.assign_splits(dataset=dataset, **data, created_by=self._user))

    @property
    def _user(self) -> Any:
        return cast("Any", self.request.user)

    def check_if_match(self, instance: Any) -> None:
        """That of a single item is its own: see `_current_item`."""
        if "item_id" not in self.kwargs:
            super().check_if_match(instance)

    def _current_item(self, dataset: Dataset, item_id: UUID) -> DatasetItem:
        item = _item(dataset, item_id)
        header = self.request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(self.read_serializer_class(item).data))
        services.require_current(item)
        return item

    def _written(self, dataset: Dataset, written: Written) -> Response:
        version = written.version
        return Response(
            {
                "version": version.version_number if version else None,
                "changed_count": written.item_count,
                "duplicate_count": written.duplicate_count,
                "item_count": version.item_count if version else 0,
            }
        )


def _item(dataset: Dataset, item_id: UUID) -> DatasetItem:
    try:
        found: DatasetItem = DatasetItem.objects.get(dataset=dataset, pk=item_id)
    except DatasetItem.DoesNotExist:
        raise Http404 from None
    return found
