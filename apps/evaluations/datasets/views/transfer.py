"""Datasets as files: exported while they are read, imported at once or by a worker."""

from typing import Any, cast
from uuid import UUID

from django.db import transaction
from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.datasets import exporting
from apps.evaluations.datasets import serializers as shapes
from apps.evaluations.datasets.filters import ImportFilter
from apps.evaluations.datasets.importing import services
from apps.evaluations.datasets.parsing import ImportInputSerializer, ImportParser
from apps.evaluations.datasets.views.finding import VERSION_PARAMETER, OfDatasetViewSet, version_asked_for
from apps.evaluations.models import SPLIT_LENGTH, DatasetImport, DatasetVersion, ImportFormat
from apps.prompts.filters import STORABLE
from everquant.api.bulkhead import WAITING_CALLS
from everquant.api.pagination import KeysetPagination
from everquant.api.parsers import StrictJSONParser
from everquant.api.serializers import EmptySerializer
from everquant.api.sse import StreamParts
from everquant.db import release_connection

LINES_TYPE = "application/x-ndjson"
# As a file it has no envelope, which `application/json` would have.
JSON_TYPE = "application/vnd.everquant.dataset+json"
_TYPES = {
    ImportFormat.CSV: "text/csv; charset=utf-8",
    ImportFormat.JSONL: LINES_TYPE,
    ImportFormat.JSON: JSON_TYPE,
    ImportFormat.OPENAI: LINES_TYPE,
}
_FORMAT = OpenApiParameter("format", {"type": "string", "enum": ImportFormat.values, "default": "jsonl"})
_SPLIT = OpenApiParameter(
    "split", {"type": "string", "maxLength": SPLIT_LENGTH, "pattern": STORABLE}, description="Only this split."
)
_ESCAPED = OpenApiParameter(
    "escape_formulas",
    {"type": "boolean", "default": False},
    description="Of CSV: put ' before cells that a spreadsheet would run. Such a file is not imported as it was.",
)
_FILES: Any = {
    (200, "text/csv"): {"type": "string"},
    (200, LINES_TYPE): {"type": "string"},
    (200, JSON_TYPE): {"type": "array", "items": {"type": "object"}},
}


class DatasetExportViewSet(OfDatasetViewSet):
    serializer_class = shapes.DatasetSerializer
    permissions = {"export": "datasets:read"}
    query_parameters = {"export": frozenset({"version", "format", "split", "escape_formulas"})}
    further_errors = {"export": (409,)}

    @extend_schema(parameters=[VERSION_PARAMETER, _FORMAT, _SPLIT, _ESCAPED], responses=_FILES)
    def export(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """A version as a file that `import` takes, without an envelope. CSV, JSONL and JSON say all of its items;
        `openai` is for fine-tuning, and needs an answer in each item.
        """
        file_format = _choice(request, "format", ImportFormat.values, "jsonl")
        split = request.query_params.get("split")
        escapes = _choice(request, "escape_formulas", ["false", "true"], "false") == "true"
        if split is not None and len(split) > SPLIT_LENGTH:
            raise ValidationError({"split": [f"At most {SPLIT_LENGTH} characters."]})
        dataset = self.get_object()
        version = version_asked_for(request, dataset) or DatasetVersion(dataset=dataset, version_number=0)
        export = exporting.Export(version, split, escapes)
        exporting.check_export(export, file_format)
        ending = "jsonl" if file_format == ImportFormat.OPENAI else file_format
        name = f"{dataset.slug.replace('/', '.')}-v{version.version_number}.{ending}"
        slot = WAITING_CALLS.enter()
        release_connection()
        parts = StreamParts(exporting.write(export, file_format), slot.release)
        response = StreamingHttpResponse(parts, content_type=_TYPES[ImportFormat(file_format)])
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def _choice(request: Request, name: str, choices: list[str], default: str) -> str:
    """A query parameter; raises ValidationError."""
    given: str = request.query_params.get(name, default)
    if given not in choices:
        raise ValidationError({name: [f"Must be one of: {', '.join(choices)}."]})
    return given


class DatasetImportViewSet(OfDatasetViewSet):
    """Files and what has become of them, newest first; the object in the path is the dataset."""

    serializer_class = shapes.DatasetImportSerializer
    parser_classes = [ImportParser, StrictJSONParser]
    filterset_class = ImportFilter
    pagination_class = KeysetPagination
    permissions = {
        "import_": "datasets:update",
        "list": "datasets:read",
        "retrieve": "datasets:read",
        "cancel": "datasets:update",
        "resume": "datasets:update",
    }
    tagged_actions = frozenset({"retrieve"})
    guarded_actions = frozenset({"import_"})
    input_serializer_classes = {
        "import_": ImportInputSerializer,
        "cancel": EmptySerializer,
        "resume": EmptySerializer,
    }

    def check_ahead(self, request: Request) -> None:
        """The file comes before a connection is taken: it may take a while."""
        if self.action == "import_":
            release_connection()
            _ = request.data

    @extend_schema(
        request={"multipart/form-data": ImportInputSerializer},
        responses={201: shapes.DatasetImportSerializer, 202: shapes.DatasetImportSerializer},
    )
    @transaction.atomic
    def import_(self, request: Request, **kwargs: Any) -> Response:
        """Import a file. CSV, JSONL, JSON or OpenAI fine-tuning JSONL. Up to 1 MiB it is imported at once: 201, or 400
        with `rows.<row>.<column>` for what is wrong. More is left to a worker: 202, with the Location of its progress.
        """
        data = self.validated()
        dataset = self.get_object_for_write()
        found = services.start_import(
            dataset=dataset,
            file=data["file"],
            file_name=data["file"].name or "",
            file_format=data["format"],
            columns=data["columns"],
            on_error=data["on_error"],
            on_duplicate=data["on_duplicate"],
            is_dry_run=data["dry_run"] == "true",
            message=data["message"],
            created_by=cast("Any", request.user),
        )
        location = f"/api/v1/datasets/{dataset.pk}/imports/{found.pk}"
        status = 201 if found.is_finished else 202
        return Response(self.represent(found), status=status, headers={"Location": location})

    def list(self, request: Request, **kwargs: Any) -> Response:
        imports = self.get_object().imports.select_related("version")
        page = self.paginate_queryset(self.filter_queryset(imports))
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, import_id: UUID, **kwargs: Any) -> Response:
        """Read an import. `read_bytes` of `total_bytes` is its progress."""
        return self.answer(self._import(import_id))

    @transaction.atomic
    def cancel(self, request: Request, import_id: UUID, **kwargs: Any) -> Response:
        """Cancel an import. Nothing of it is in the dataset; it can be resumed for a day."""
        self.validated()
        return Response(self.represent(services.cancel_import(found=self._import(import_id))))

    @transaction.atomic
    def resume(self, request: Request, import_id: UUID, **kwargs: Any) -> Response:
        """Resume an import. One that was cancelled, or that failed for no fault of its file, goes on where it was."""
        self.validated()
        return Response(self.represent(services.resume_import(found=self._import(import_id))))

    def _import(self, import_id: UUID) -> DatasetImport:
        try:
            found: DatasetImport = self.get_object().imports.select_related("version").get(pk=import_id)
        except DatasetImport.DoesNotExist:
            raise Http404 from None
        return found
