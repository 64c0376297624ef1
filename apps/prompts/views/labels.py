"""One label of one owner (a prompt, a workflow); the object in the path is the owner."""

from typing import Any, ClassVar, cast

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts import serializers as shapes
from apps.prompts.labelling import ANY_VERSION, label_of, move_label, noun_of, take_label_away
from apps.prompts.models import LABEL, LABEL_LENGTH, LABEL_PATTERN, Prompt, is_label
from apps.prompts.serializers import MAX_VERSION
from apps.users.tenancy import TenantViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import NotFound, PreconditionFailed
from everquant.api.pagination import integer_parameter

_LABEL = OpenApiParameter(
    "label", {"type": "string", "maxLength": LABEL_LENGTH, "pattern": f"^{LABEL_PATTERN}$"}, OpenApiParameter.PATH
)


@extend_schema(parameters=[_LABEL])
class LabelViewSet(TenantViewSet):
    """A subclass declares `queryset`, `permissions` and who may move protected labels."""

    protection: ClassVar[str]
    serializer_class = shapes.LabelSerializer
    further_errors = {"update": (409,), "destroy": (409,)}
    query_parameters = {"destroy": frozenset({"expected_version"})}
    input_serializer_classes = {"update": shapes.SetLabelSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def check_if_match(self, instance: Any) -> None:
        """If-Match is the label's own ETag; a label that was never set has none."""
        header = self.request.headers.get("If-Match")
        if not header:
            return
        label = label_of(instance, self.kwargs["label"])
        if label is None:
            raise PreconditionFailed("The label is not set.")
        require_match(header, etag_of(label))

    def represent(self, instance: Any, *, many: bool = False) -> Any:
        return instance

    def retrieve(self, request: Request, label: str, **kwargs: Any) -> Response:
        """Where a label is, and its last moves. A label that was removed keeps its history."""
        found = label_of(self.get_object(), _checked(label))
        if found is None:
            raise Http404
        return self.answer(found)

    @transaction.atomic
    def update(self, request: Request, label: str, **kwargs: Any) -> Response:
        """Point the label at a version."""
        data = self.validated()
        owner = self.get_object_for_write()
        move_label(
            owner=owner,
            name=_checked(label),
            version=_version(owner, data["version"]),
            moved_by=cast("Any", request.user),
            may_move_protected=self.principal.can(self.protection),
            expected_version=data.get("expected_version", ANY_VERSION),
            reason=data["reason"],
        )
        return self.answer(label_of(owner, label))

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "expected_version",
                {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
                description="Remove only from this version.",
            )
        ]
    )
    @transaction.atomic
    def destroy(self, request: Request, label: str, **kwargs: Any) -> Response:
        """Take the label away. Its history stays."""
        take_label_away(
            owner=self.get_object_for_write(),
            name=_checked(label),
            removed_by=cast("Any", request.user),
            may_move_protected=self.principal.can(self.protection),
            expected_version=integer_parameter(request, "expected_version", ANY_VERSION, MAX_VERSION),
        )
        return Response(status=204)


class PromptLabelViewSet(LabelViewSet):
    queryset = Prompt.objects.all()
    permissions = {"retrieve": "prompts:read", "update": "prompts:update", "destroy": "prompts:update"}
    protection = "prompts:protect"


def _checked(label: str) -> str:
    if not is_label(label):
        raise ValidationError({"label": [str(LABEL.message)]})
    return label


def _version(owner: Any, number: int) -> Any:
    try:
        return owner.versions.get(version_number=number)
    except owner.versions.model.DoesNotExist:
        message = f"The {noun_of(owner)} has no version {number}."
        raise NotFound(message, details={"version": "No such version."}) from None
