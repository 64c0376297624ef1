"""The versions of one prompt; the object in the path is the prompt."""

from typing import Any, cast

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts import serializers as shapes
from apps.prompts import services
from apps.prompts.diff import diff_versions
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.published import version_definition
from apps.prompts.serializers import MAX_VERSION
from apps.users.tenancy import TenantViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import NotFound
from everquant.api.pagination import integer_parameter


class PromptVersionViewSet(TenantViewSet):
    queryset = Prompt.objects.all()
    serializer_class = shapes.PromptVersionSerializer
    permissions = {
        "list": "prompts:read",
        "retrieve": "prompts:read",
        "create": "prompts:update",
        "restore": "prompts:update",
        "diff": "prompts:read",
    }
    tagged_actions = TenantViewSet.tagged_actions | {"restore"}
    guarded_actions = frozenset({"create", "restore"})
    query_parameters = {"diff": frozenset({"against"})}
    input_serializer_classes = {
        "create": shapes.VersionInputSerializer,
        "restore": shapes.RestoreVersionSerializer,
    }
    output_serializer_classes = {"diff": shapes.DiffSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def check_if_match(self, instance: Any) -> None:
        """A new version is a change of its prompt: If-Match is the prompt's ETag."""
        header = self.request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(shapes.PromptSerializer(instance).data))

    def list(self, request: Request, **kwargs: Any) -> Response:
        versions = PromptVersion.objects.filter(prompt=self.get_object())
        page = self.paginate_queryset(versions)
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, number: int, **kwargs: Any) -> Response:
        return self.answer(self._version(self.get_object(), number))

    @transaction.atomic
    def create(self, request: Request, **kwargs: Any) -> Response:
        """The next version; what is not given is as in the current one."""
        data = self.validated()
        message = data.pop("message", "")
        version = services.create_version(
            prompt=self.get_object_for_write(),
            changes=cast("Any", data),
            message=message,
            created_by=cast("Any", request.user),
        )
        location = f"{request.path}/{version.version_number}"
        return self.answer(version, status=201, headers={"Location": location})

    @extend_schema(responses={201: shapes.PromptVersionSerializer})
    @transaction.atomic
    def restore(self, request: Request, number: int, **kwargs: Any) -> Response:
        """A new version that says what this one says."""
        data = self.validated()
        prompt = self.get_object_for_write()
        version = services.restore_version(
            prompt=prompt,
            version=self._version(prompt, number),
            message=data["message"],
            created_by=cast("Any", request.user),
        )
        location = request.path.removesuffix(f"{number}/restore") + str(version.version_number)
        return self.answer(version, status=201, headers={"Location": location})

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "against",
                {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
                description="The version to compare with; the one before by default.",
            )
        ]
    )
    def diff(self, request: Request, number: int, **kwargs: Any) -> Response:
        """What changed from `against` to this version; version 1 is compared with nothing by default."""
        against = integer_parameter(request, "against", number - 1, MAX_VERSION)
        prompt = self.get_object()
        found = {v.version_number: v for v in prompt.versions.filter(version_number__in=[number, against])}
        if number not in found:
            raise Http404
        if against > 0 and against not in found:
            raise NotFound(f"The prompt has no version {against}.", details={"against": "No such version."})
        before = version_definition(found[against]) if against else {}
        changes = diff_versions(before, version_definition(found[number]))
        return Response({"from_version": against or None, "to_version": number, "changes": changes})

    def _version(self, prompt: Prompt, number: int) -> PromptVersion:
        try:
            return PromptVersion.objects.get(prompt=prompt, version_number=number)
        except PromptVersion.DoesNotExist:
            raise Http404 from None
