"""One label of one prompt; the object in the path is the prompt."""

from typing import Any, cast

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.organizations.models import Organization
from apps.prompts import serializers as shapes
from apps.prompts import services
from apps.prompts.models import LABEL, LABEL_LENGTH, LABEL_PATTERN, Prompt, PromptLabelEvent, PromptVersion, is_label
from apps.prompts.serializers import MAX_VERSION
from apps.users.tenancy import TenantViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import NotFound, PreconditionFailed
from everquant.api.pagination import integer_parameter

HISTORY_LENGTH = 100


_LABEL = OpenApiParameter(
    "label", {"type": "string", "maxLength": LABEL_LENGTH, "pattern": f"^{LABEL_PATTERN}$"}, OpenApiParameter.PATH
)


@extend_schema(parameters=[_LABEL])
class PromptLabelViewSet(TenantViewSet):
    queryset = Prompt.objects.all()
    serializer_class = shapes.LabelSerializer
    permissions = {"retrieve": "prompts:read", "update": "prompts:update", "destroy": "prompts:update"}
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
        prompt = self.get_object_for_write()
        services.set_label(
            prompt=prompt,
            name=_checked(label),
            version=_version(prompt, data["version"]),
            moved_by=cast("Any", request.user),
            may_move_protected=self.principal.can("prompts:protect"),
            expected_version=data.get("expected_version", services.ANY_VERSION),
            reason=data["reason"],
        )
        return self.answer(label_of(prompt, label))

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
        services.remove_label(
            prompt=self.get_object_for_write(),
            name=_checked(label),
            removed_by=cast("Any", request.user),
            may_move_protected=self.principal.can("prompts:protect"),
            expected_version=integer_parameter(request, "expected_version", services.ANY_VERSION, MAX_VERSION),
        )
        return Response(status=204)


def label_of(prompt: Prompt, name: str) -> dict[str, Any] | None:
    """A label as it is read, or None when it was never set; three queries."""
    version = prompt.label_set.filter(name=name).values_list("version__version_number", flat=True).first()
    events = PromptLabelEvent.objects.filter(prompt=prompt, name=name).values(
        "from_version__version_number", "to_version__version_number", "reason", "created_by_id", "created_at"
    )[:HISTORY_LENGTH]
    history = [
        {
            "from_version": event["from_version__version_number"],
            "to_version": event["to_version__version_number"],
            "reason": event["reason"],
            "created_by": event["created_by_id"],
            "created_at": event["created_at"],
        }
        for event in events
    ]
    if version is None and not history:
        return None
    protected = Organization.objects.values_list("protected_labels", flat=True).get(pk=prompt.organization_id)
    return {"name": name, "version": version, "is_protected": name in protected, "history": history}


def _checked(label: str) -> str:
    if not is_label(label):
        raise ValidationError({"label": [str(LABEL.message)]})
    return label


def _version(prompt: Prompt, number: int) -> PromptVersion:
    try:
        return PromptVersion.objects.get(prompt=prompt, version_number=number)
    except PromptVersion.DoesNotExist:
        raise NotFound(f"The prompt has no version {number}.", details={"version": "No such version."}) from None
