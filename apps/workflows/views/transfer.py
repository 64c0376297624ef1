"""Workflows as files."""

from typing import Any, cast

from django.db import transaction
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts.services import OnConflict
from apps.users.tenancy import TenantViewSet
from apps.workflows import serializers as shapes
from apps.workflows import services
from apps.workflows.definition.transfer import KIND, TransferProblem, dump_yaml, load_yaml
from apps.workflows.models import Workflow
from apps.workflows.views.workflows import VERSION_PARAMETER, definition_asked_for
from everquant.api.bulkhead import BODIES
from everquant.api.envelope import dumps
from everquant.api.parsers import StrictJSONParser, check_json

YAML_TYPE = "application/yaml"
# As a file it has no envelope, which `application/json` would have.
JSON_TYPE = "application/vnd.everquant.workflow+json"
_TYPES = {"yaml": YAML_TYPE, "json": JSON_TYPE}
_FORMAT = OpenApiParameter("format", {"type": "string", "enum": list(_TYPES), "default": "yaml"})
_ON_CONFLICT = OpenApiParameter(
    "on_conflict",
    {"type": "string", "enum": [choice.value for choice in OnConflict], "default": OnConflict.FAIL.value},
    description="For a slug that is taken: refuse, leave the workflow as it is, or give it this definition.",
)
_PUBLISH = OpenApiParameter(
    "publish", {"type": "boolean", "default": False}, description="Publish it in the same transaction."
)


class YAMLParser(BaseParser):
    """A YAML document of plain JSON values."""

    media_type = YAML_TYPE

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        with BODIES.enter():
            body = stream.read()
        try:
            data = load_yaml(body.decode())
        except (UnicodeDecodeError, TransferProblem) as error:
            raise ParseError(f"The body is not a YAML document: {error}") from None
        check_json(data)
        return data


class WorkflowTransferViewSet(TenantViewSet):
    queryset = Workflow.objects.all()
    parser_classes = [StrictJSONParser, YAMLParser]
    serializer_class = shapes.WorkflowDocumentSerializer
    permissions = {"export": "workflows:read", "import_": "workflows:create"}
    query_parameters = {"export": frozenset({"version", "format"}), "import_": frozenset({"on_conflict", "publish"})}
    output_serializer_classes = {"import_": shapes.ImportedWorkflowSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    @extend_schema(
        parameters=[VERSION_PARAMETER, _FORMAT],
        responses={(200, media_type): shapes.WorkflowDocumentSerializer for media_type in (YAML_TYPE, JSON_TYPE)},
    )
    def export(self, request: Request, **kwargs: Any) -> HttpResponse:
        """A workflow as a file that `import` takes, without an envelope."""
        form = _choice(request, "format", [*_TYPES])
        workflow = self.get_object()
        document = {
            "kind": KIND,
            "slug": workflow.slug,
            "name": workflow.name,
            "description": workflow.description,
            "tags": workflow.tags,
            "definition": definition_asked_for(request, workflow),
        }
        body: Any = dumps(document) if form == "json" else dump_yaml(document)
        name = f"{workflow.slug.replace('/', '.')}.{form}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return HttpResponse(body, content_type=_TYPES[form], headers=headers)

    @extend_schema(
        parameters=[_ON_CONFLICT, _PUBLISH],
        request={
            "application/json": shapes.WorkflowDocumentSerializer,
            YAML_TYPE: shapes.WorkflowDocumentSerializer,
        },
    )
    @transaction.atomic
    def import_(self, request: Request) -> Response:
        """Make a workflow of a file."""
        workflow, outcome = services.import_workflow(
            organization_id=self.principal.organization_id,
            document=self.validated(),
            on_conflict=OnConflict(_choice(request, "on_conflict", [choice.value for choice in OnConflict])),
            is_published=_choice(request, "publish", ["false", "true"]) == "true",
            imported_by=cast("Any", request.user),
            may_update=self.principal.can("workflows:update"),
        )
        return Response(
            {"slug": workflow.slug, "id": workflow.id, "version": workflow.version_number, "outcome": outcome}
        )


def _choice(request: Request, name: str, choices: list[str]) -> str:
    """A query parameter, the first choice when it is not given; raises ValidationError."""
    given: str = request.query_params.get(name, choices[0])
    if given not in choices:
        raise ValidationError({name: [f"Must be one of: {', '.join(choices)}."]})
    return given
