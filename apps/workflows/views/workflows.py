"""Workflows as resources: drafts, publishing, and what an editor asks of a definition."""

from typing import Any, ClassVar, cast

from django.db import transaction
from django.http import Http404, HttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts.serializers import MAX_VERSION, DuplicateSerializer
from apps.users.tenancy import PermissionViewSet, ResourceViewSet
from apps.workflows import serializers as shapes
from apps.workflows import services
from apps.workflows.definition.mermaid import mermaid
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.schema import definition_schema
from apps.workflows.definition.validation import problems
from apps.workflows.filters import WorkflowFilter
from apps.workflows.models import Workflow, WorkflowVersion
from everquant.api.conditional import etag_of_bytes, matches
from everquant.api.envelope import dumps
from everquant.api.pagination import integer_parameter
from everquant.api.serializers import EmptySerializer

SCHEMA_TYPE = "application/schema+json"
VERSION_PARAMETER = OpenApiParameter(
    "version",
    {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
    description="The version of this number; the draft by default.",
)


class WorkflowViewSet(ResourceViewSet):
    queryset = Workflow.objects.all()
    serializer_class = shapes.WorkflowSerializer
    filterset_class = WorkflowFilter
    search_fields: ClassVar[list[str]] = ["slug", "name", "description"]
    ordering_fields: ClassVar[list[str]] = ["name", "slug", "created_at", "updated_at"]
    permissions = {
        "list": "workflows:read",
        "retrieve": "workflows:read",
        "create": "workflows:create",
        "update": "workflows:update",
        "partial_update": "workflows:update",
        "destroy": "workflows:delete",
        "undelete": "workflows:delete",
        "duplicate": "workflows:create",
        "publish": "workflows:update",
        "diagram": "workflows:read",
    }
    tagged_actions = ResourceViewSet.tagged_actions | {"undelete", "duplicate", "publish"}
    guarded_actions = ResourceViewSet.guarded_actions | {"undelete", "publish"}
    further_errors = {"update": (409,), "partial_update": (409,), "destroy": (409,)}
    query_parameters = {"diagram": frozenset({"version"})}
    input_serializer_classes = {
        "create": shapes.WorkflowInputSerializer,
        "update": shapes.WorkflowInputSerializer,
        "partial_update": shapes.WorkflowInputSerializer,
        "duplicate": DuplicateSerializer,
        "publish": shapes.PublishSerializer,
        "undelete": EmptySerializer,
    }
    output_serializer_classes = {
        "list": shapes.WorkflowSummarySerializer,
        "publish": shapes.WorkflowVersionSerializer,
        "diagram": shapes.DiagramSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: a row that changed while it was waited for would be lost with them."""
        if self.action == "list":
            queryset = queryset.summarized()
        elif self.action == "retrieve":
            queryset = queryset.with_current()
        shows_deleted = self.action == "undelete" or (self.action == "list" and "deleted" in self.request.query_params)
        return queryset if shows_deleted else queryset.alive()

    def perform_create(self, data: dict[str, Any]) -> Workflow:
        return services.create_workflow(
            organization_id=self.principal.organization_id, created_by=cast("Any", self.request.user), **data
        )

    def perform_update(self, instance: Workflow, data: dict[str, Any]) -> Workflow:
        return services.update_workflow(workflow=instance, fields=data)

    def perform_destroy(self, instance: Workflow) -> None:
        services.delete_workflow(workflow=instance)

    @transaction.atomic
    def undelete(self, request: Request, **kwargs: Any) -> Response:
        """Bring a deleted workflow back."""
        self.validated()
        return self.answer(services.undelete_workflow(workflow=self.get_object_for_write()))

    @extend_schema(responses={201: shapes.WorkflowSerializer})
    @transaction.atomic
    def duplicate(self, request: Request, **kwargs: Any) -> Response:
        """A new workflow from the draft of this one."""
        data = self.validated()
        copy = services.duplicate_workflow(workflow=self.get_object(), created_by=cast("Any", request.user), **data)
        return self.answer(copy, status=201, headers={"Location": reverse("workflow-detail", args=[copy.pk])})

    @extend_schema(responses={200: shapes.WorkflowVersionSerializer, 201: shapes.WorkflowVersionSerializer})
    @transaction.atomic
    def publish(self, request: Request, **kwargs: Any) -> Response:
        """Publish the draft as a version. One that the current version says already is answered with a 200.

        Prompts, models and other workflows are looked up now and pinned. `details` of a 400 names every problem by its
        JSON pointer in the definition.
        """
        data = self.validated()
        workflow = self.get_object_for_write()
        version, is_new = services.publish(
            workflow=workflow,
            published_by=cast("Any", request.user),
            may_move_protected=self.principal.can("workflows:protect"),
            **data,
        )
        location = reverse("workflow-version-detail", args=[workflow.pk, version.version_number])
        return self.answer(version, status=201 if is_new else 200, headers={"Location": location} if is_new else None)

    @extend_schema(parameters=[VERSION_PARAMETER])
    def diagram(self, request: Request, **kwargs: Any) -> Response:
        """A diagram of the draft or a version."""
        definition = definition_asked_for(request, self.get_object())
        found = problems(definition)
        if found:
            raise services.InvalidWorkflow(found)
        return Response({"mermaid": mermaid(parse(definition))})


class DefinitionViewSet(PermissionViewSet):
    """What an editor asks of definitions as such."""

    permissions = {"read_schema": "workflows:read", "validate": "workflows:read"}
    serializer_class = shapes.ValidateSerializer
    output_serializer_classes = {"validate": shapes.ValidatedSerializer}
    tagged_actions = frozenset({"read_schema"})

    @extend_schema(responses={(200, SCHEMA_TYPE): shapes.ANY_OBJECT})
    def read_schema(self, request: Request) -> HttpResponse:
        """The JSON Schema of a definition; the document itself, without an envelope."""
        body = dumps(definition_schema())
        headers = {"ETag": etag_of_bytes(body), "Cache-Control": "private, max-age=300"}
        known = request.headers.get("If-None-Match")
        if known and matches(known, headers["ETag"]):
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(body, content_type=SCHEMA_TYPE, headers=headers)

    def validate(self, request: Request) -> Response:
        """Everything that is wrong with a definition, in this organization, without storing it."""
        definition = self.validated()["definition"]
        _, found = services.check_definition(definition, self.principal.organization_id)
        said = [{"code": one.code, "pointer": one.pointer, "message": one.message} for one in found]
        return Response({"is_valid": not said, "problems": said})


def definition_asked_for(request: Request, workflow: Workflow) -> dict[str, Any]:
    """Of the version in the query, else the draft; raises Http404."""
    number = integer_parameter(request, "version", 0, MAX_VERSION)
    if not number:
        return cast("dict[str, Any]", workflow.draft)
    return cast("dict[str, Any]", version_of(workflow, number).definition)


def version_of(workflow: Workflow, number: int) -> WorkflowVersion:
    """Raises Http404."""
    try:
        return WorkflowVersion.objects.get(workflow=workflow, version_number=number)
    except WorkflowVersion.DoesNotExist:
        raise Http404 from None
