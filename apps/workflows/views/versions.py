"""The versions and labels of one workflow; the object in the path is the workflow."""

from typing import Any

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts.serializers import MAX_VERSION
from apps.prompts.views.labels import LabelViewSet
from apps.users.tenancy import TenantViewSet
from apps.workflows import serializers as shapes
from apps.workflows import services
from apps.workflows.definition.diff import diff
from apps.workflows.models import Workflow, WorkflowVersion
from apps.workflows.views.workflows import version_of
from everquant.api.errors import NotFound
from everquant.api.pagination import integer_parameter
from everquant.api.serializers import EmptySerializer

_AGAINST = OpenApiParameter(
    "against",
    {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
    description="The version to compare with; the one before by default.",
)


class WorkflowVersionViewSet(TenantViewSet):
    queryset = Workflow.objects.all()
    serializer_class = shapes.WorkflowVersionSerializer
    permissions = {
        "list": "workflows:read",
        "retrieve": "workflows:read",
        "restore": "workflows:update",
        "diff": "workflows:read",
    }
    tagged_actions = TenantViewSet.tagged_actions | {"restore"}
    guarded_actions = frozenset({"restore"})
    query_parameters = {"diff": frozenset({"against"})}
    input_serializer_classes = {"restore": EmptySerializer}
    output_serializer_classes = {
        "list": shapes.WorkflowVersionSummarySerializer,
        "diff": shapes.WorkflowDiffSerializer,
        "restore": shapes.WorkflowSerializer,
    }

    @property
    def read_serializer_class(self) -> Any:
        """If-Match is the ETag of the workflow."""
        return shapes.WorkflowSerializer

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def list(self, request: Request, **kwargs: Any) -> Response:
        workflow = self.get_object()
        page = self.paginate_queryset(WorkflowVersion.objects.filter(workflow=workflow).defer("definition", "pins"))
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, number: int, **kwargs: Any) -> Response:
        return self.answer(version_of(self.get_object(), number))

    @transaction.atomic
    def restore(self, request: Request, number: int, **kwargs: Any) -> Response:
        """Make the draft what this version says; it is not published."""
        self.validated()
        workflow = self.get_object_for_write()
        return self.answer(services.restore_version(workflow=workflow, version=version_of(workflow, number)))

    @extend_schema(parameters=[_AGAINST])
    def diff(self, request: Request, number: int, **kwargs: Any) -> Response:
        """What changed from `against` to this version; version 1 is compared with nothing by default."""
        against = integer_parameter(request, "against", number - 1, MAX_VERSION)
        workflow = self.get_object()
        found = {v.version_number: v for v in workflow.versions.filter(version_number__in=[number, against])}
        if number not in found:
            raise Http404
        if against > 0 and against not in found:
            raise NotFound(f"The workflow has no version {against}.", details={"against": "No such version."})
        before = found[against].definition if against else {}
        changes = diff(before, found[number].definition)
        return Response({"from_version": against or None, "to_version": number, **changes})


class WorkflowLabelViewSet(LabelViewSet):
    queryset = Workflow.objects.all()
    permissions = {"retrieve": "workflows:read", "update": "workflows:update", "destroy": "workflows:update"}
    protection = "workflows:protect"
