"""What the resources of schedules and of triggers have in common."""

from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users.principal import Principal
from apps.users.tenancy import DestroyMixin, ListMixin, RetrieveMixin, TenantViewSet, UpdateMixin
from apps.workflows.models import Workflow
from everquant.api.errors import Forbidden
from everquant.api.filters import TrueFalseFilter

READ, CHANGE = "workflows:read", "workflows:update"


def require_runner(principal: Principal) -> None:
    """What starts runs is made and changed by those who may run: a key without that scope must not get around it.

    Raises Forbidden.
    """
    if not principal.can("workflows:execute"):
        raise Forbidden("This starts runs: workflows:execute is needed too.")


class StarterFilter(django_filters.FilterSet):
    """Of both models; so it names none."""

    workflow_id = django_filters.UUIDFilter()
    is_active = TrueFalseFilter()


class OfWorkflowViewSet(TenantViewSet):
    """Schedules or triggers of one workflow; the object in the path is the workflow.

    A subclass names its `model`, and `collection`, where each of them is found.
    """

    queryset = Workflow.objects.all()
    model: ClassVar[Any]
    collection: ClassVar[str]
    permissions: ClassVar[dict[str, str]] = {"list": READ, "create": CHANGE}

    def refine(self, queryset: Any) -> Any:
        queryset = queryset.alive()
        return queryset.with_current() if self.action == "create" else queryset

    def list(self, request: Request, pk: UUID) -> Response:
        page = self.paginate_queryset(self.model.objects.filter(workflow=self.get_object()))
        return self.get_paginated_response(self.represent(page, many=True))

    def make(self, workflow: Workflow, data: dict[str, Any]) -> Any:
        raise NotImplementedError

    @transaction.atomic
    def create(self, request: Request, pk: UUID) -> Response:
        require_runner(self.principal)
        made = self.make(self.get_object(), self.validated())
        headers = {"Location": f"/api/v1/{self.collection}/{made.id}"}
        if self.get_output_serializer_class() is not self.read_serializer_class:
            headers["ETag"] = self.etag_of_read(made)
        return self.answer(made, status=201, headers=headers)


class StarterViewSet(ListMixin, RetrieveMixin, UpdateMixin, DestroyMixin, TenantViewSet):
    filterset_class = StarterFilter
    search_fields = ["name"]
    ordering_fields = ["name", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = {
        "list": READ,
        "retrieve": READ,
        "update": CHANGE,
        "partial_update": CHANGE,
        "destroy": CHANGE,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.of_living()
