"""Many executions of one prompt, asked for at once."""

from typing import Any
from uuid import UUID

import django_filters
from django.db import transaction
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.executions.batch_serializers import BatchFileSerializer, BatchInputSerializer, BatchSerializer
from apps.executions.datasets import DatasetParser
from apps.executions.models import Batch
from apps.executions.orchestrator import Command
from apps.executions.orchestrator.batching import cancel_batch, create_batch, retry_failed
from apps.users.tenancy import CreateMixin, ListMixin, RetrieveMixin, TenantViewSet
from everquant.api.filters import TrueFalseFilter
from everquant.api.pagination import KeysetPagination
from everquant.api.parsers import StrictJSONParser
from everquant.api.serializers import EmptySerializer

_BODIES: Any = {"application/json": BatchInputSerializer, "multipart/form-data": BatchFileSerializer}


class BatchFilter(django_filters.FilterSet):
    prompt_id = django_filters.UUIDFilter()
    is_finished = TrueFalseFilter(method="with_end")

    class Meta:
        model = Batch
        fields: list[str] = []

    def with_end(self, queryset: Any, name: str, value: bool) -> Any:
        return queryset.filter(finished_at__isnull=not value)


class BatchViewSet(ListMixin, CreateMixin, RetrieveMixin, TenantViewSet):
    """Batches, newest first; their rows are executions with their `batch_id`."""

    queryset = Batch.objects.all()
    serializer_class = BatchSerializer
    parser_classes = [StrictJSONParser, DatasetParser]
    filterset_class = BatchFilter
    pagination_class = KeysetPagination
    permissions = {
        "list": "executions:read",
        "create": "prompts:execute",
        "retrieve": "executions:read",
        "cancel": "prompts:execute",
        "retry": "prompts:execute",
    }
    input_serializer_classes = {
        "create": BatchInputSerializer,
        "cancel": EmptySerializer,
        "retry": EmptySerializer,
    }
    tagged_actions = frozenset({"create", "retrieve"})
    further_errors = {"create": (404,)}

    def refine(self, queryset: Any) -> Any:
        return queryset.with_counts()

    @extend_schema(operation_id="executions_batch", tags=["executions"], request=_BODIES)
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Execute batch. Up to 10,000 rows in one transaction, made by workers; as JSON, or as a form with a file.

        Every row is rendered before anything is stored; `details` names problems as `rows.17.name`.
        """
        return super().create(request, *args, **kwargs)

    def perform_create(self, data: dict[str, Any]) -> Batch:
        rows, name = data.pop("rows"), data.pop("name")
        command = Command(
            organization_id=self.principal.organization_id,
            created_by_id=self.principal.user_id,
            api_key_id=self.principal.api_key_id,
            **data,
        )
        return self._counted(create_batch(command=command, name=name, rows=rows).id)

    def location_of(self, instance: Any) -> str:
        return f"/api/v1/executions/batches/{instance.id}"

    @transaction.atomic
    def cancel(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Cancel batch. Queued rows are cancelled at once, running ones within about a second."""
        self.validated()
        batch = self.get_object()
        cancel_batch(batch=batch)
        return Response(self._counted(batch.id).summary())

    @extend_schema(responses={201: BatchSerializer})
    @transaction.atomic
    def retry(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Retry failed rows. They become a new batch, once this one has ended."""
        self.validated()
        again = retry_failed(
            batch=self.get_object(), created_by_id=self.principal.user_id, api_key_id=self.principal.api_key_id
        )
        batch = self._counted(again.id)
        return Response(batch.summary(), status=201, headers={"Location": self.location_of(batch)})

    def _counted(self, batch_id: UUID) -> Batch:
        found: Batch = Batch.objects.with_counts().get(id=batch_id)
        return found
