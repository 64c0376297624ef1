"""Prompts as resources, and the ways in which programs read them."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.prompts import published, services
from apps.prompts import serializers as shapes
from apps.prompts.ab_tests import serving
from apps.prompts.filters import STORABLE, PromptFilter
from apps.prompts.models import (
    LABEL,
    LABEL_LENGTH,
    LABEL_PATTERN,
    PRODUCTION,
    SLUG_LENGTH,
    TAG_LENGTH,
    UNIT_LENGTH,
    Prompt,
    is_label,
    is_slug,
)
from apps.prompts.rendering import PromptError
from apps.prompts.rendering.values import UNSTORABLE
from apps.prompts.serializers import MAX_VERSION
from apps.prompts.services.transfer import MAX_PROMPTS
from apps.users.tenancy import ResourceViewSet
from everquant.api.errors import BadRequest, Conflict, NotFound
from everquant.api.pagination import integer_parameter
from everquant.api.serializers import EmptySerializer

_FIELDS = frozenset({"slug", "name", "description", "tags", "is_active"})
_READS = frozenset({"list", "retrieve", "export", "render"})
_KEPT = frozenset({"list", "retrieve", "by_slug", "bundle"})
_SELDOM = frozenset({"search", "unit_id"})
_LABEL_SCHEMA = {"type": "string", "maxLength": LABEL_LENGTH, "pattern": f"^{LABEL_PATTERN}$"}
_VERSION_SCHEMA = {"type": "integer", "minimum": 1, "maximum": MAX_VERSION}
_FOLDER = OpenApiParameter("folder", {"type": "string", "maxLength": SLUG_LENGTH, "pattern": STORABLE})
_TAG = OpenApiParameter("tag", {"type": "string", "maxLength": TAG_LENGTH, "pattern": STORABLE})
_LABEL = OpenApiParameter("label", _LABEL_SCHEMA, description="The version that this label names.")
_UNIT = OpenApiParameter(
    "unit_id",
    {"type": "string", "maxLength": UNIT_LENGTH, "pattern": STORABLE},
    description="Whom it is for: goes through the prompt's live A/B test, with no version and no label.",
)
_VERSION = OpenApiParameter("version", _VERSION_SCHEMA, description="The version of this number.")


class PromptViewSet(ResourceViewSet):
    queryset = Prompt.objects.all()
    serializer_class = shapes.PromptSerializer
    filterset_class = PromptFilter
    search_fields: ClassVar[list[str]] = ["slug", "name", "description"]
    ordering_fields: ClassVar[list[str]] = ["name", "slug", "created_at", "updated_at"]
    permissions = {
        "list": "prompts:read",
        "retrieve": "prompts:read",
        "create": "prompts:create",
        "update": "prompts:update",
        "partial_update": "prompts:update",
        "destroy": "prompts:delete",
        "undelete": "prompts:delete",
        "duplicate": "prompts:create",
        "render": "prompts:read",
        "by_slug": "prompts:read",
        "bundle": "prompts:read",
        "export": "prompts:read",
        "import_": "prompts:create",
    }
    tagged_actions = ResourceViewSet.tagged_actions | {"list", "undelete", "duplicate", "by_slug", "bundle"}
    guarded_actions = ResourceViewSet.guarded_actions | {"undelete"}
    further_errors = {"update": (409,), "partial_update": (409,), "destroy": (409,)}
    query_parameters = {
        "by_slug": frozenset({"label", "version", "unit_id"}),
        "bundle": frozenset({"label"}),
        "export": frozenset({"folder", "tag"}),
    }
    input_serializer_classes = {
        "create": shapes.PromptInputSerializer,
        "update": shapes.PromptInputSerializer,
        "partial_update": shapes.PromptInputSerializer,
        "duplicate": shapes.DuplicateSerializer,
        "render": shapes.RenderSerializer,
        "import_": shapes.ImportSerializer,
        "undelete": EmptySerializer,
    }
    output_serializer_classes = {
        "by_slug": shapes.ServedPromptSerializer,
        "bundle": shapes.BundleSerializer,
        "export": shapes.ExportSerializer,
        "import_": shapes.ImportResultSerializer,
        "render": shapes.RenderedSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: a row that changed while it was waited for would be lost with them."""
        if self.action in _READS:
            queryset = queryset.with_current()
        shows_deleted = self.action == "undelete" or (self.action == "list" and "deleted" in self.request.query_params)
        return queryset if shows_deleted else queryset.alive()

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.create_one()

    def perform_create(self, data: dict[str, Any]) -> Prompt:
        fields, definition, rest = _split(data)
        return services.create_prompt(
            organization_id=self.principal.organization_id,
            definition=definition,
            created_by=cast("Any", self.request.user),
            **fields,
            **rest,
        )

    def perform_update(self, instance: Prompt, data: dict[str, Any]) -> Prompt:
        fields, definition, rest = _split(data)
        if rest.get("type", instance.type) != instance.type:
            raise Conflict("The type of a prompt does not change.", details={"type": f"It is {instance.type}."})
        if self.action == "update" and data["content"] is None and data["messages"] is None:
            raise ValidationError({"content": ["Either content or messages is expected."]})
        return services.update_prompt(
            prompt=instance,
            fields=fields,
            changes=definition,
            message=rest.get("message", ""),
            updated_by=cast("Any", self.request.user),
        )

    def perform_destroy(self, instance: Prompt) -> None:
        services.delete_prompt(prompt=instance)

    @transaction.atomic
    def undelete(self, request: Request, **kwargs: Any) -> Response:
        """Bring a deleted prompt back."""
        self.validated()
        return self.answer(services.undelete_prompt(prompt=self.get_object_for_write()))

    @extend_schema(responses={201: shapes.PromptSerializer})
    @transaction.atomic
    def duplicate(self, request: Request, **kwargs: Any) -> Response:
        """A new prompt from the current version of this one."""
        data = self.validated()
        copy = services.duplicate_prompt(prompt=self.get_object(), created_by=cast("Any", request.user), **data)
        return self.answer(copy, status=201, headers={"Location": reverse("prompt-detail", args=[copy.pk])})

    def render(self, request: Request, **kwargs: Any) -> Response:
        """The prompt with these variables, without calling a model."""
        data = self.validated()
        prompt = self.get_object()
        version = published.resolve_version(prompt, version=data.get("version"), label=data.get("label"))
        try:
            messages = version.compiled().render_messages(data["variables"])
        except PromptError as error:
            raise BadRequest(error.message, details=error.details) from error
        return Response(
            {
                "prompt_id": prompt.id,
                "version_number": version.version_number,
                "content": messages[0]["content"] if prompt.type == Prompt.Type.TEXT else None,
                "messages": messages,
            }
        )

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        read: Any = super().list
        return self._remembered(lambda: read(request).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        def load() -> Any:
            return self.represent(self.get_object())

        return self._remembered(load, tags_data=True)

    def _remembered(self, load: Callable[[], Any], **options: Any) -> HttpResponse:
        answer = published.answers.remember(self.principal.organization_id, self._target(), load, **options)
        return answer.response(self.request.META.get("HTTP_IF_NONE_MATCH"))

    def _target(self) -> str | None:
        """Under which the answer to this read is kept; None for what is seldom asked twice: searches, single units."""
        if self.action not in _KEPT or not _SELDOM.isdisjoint(self.request.query_params):
            return None
        return published.answers.target(self.request._request)

    def names_to_prefetch(self, organization_id: UUID) -> Iterable[str]:
        target = self._target()
        return published.answers.names(organization_id, target) if target is not None else ()

    @extend_schema(parameters=[_LABEL, _VERSION, _UNIT])
    def by_slug(self, request: Request, slug: str) -> HttpResponse:
        """The version that a label or a number names; without either what a live A/B test gives the unit, else
        `production`, else the current version. A read is no exposure; without `unit_id` no test is asked.
        """
        if not is_slug(slug):
            raise NotFound("No such object.")
        label = _label_parameter(request)
        version = integer_parameter(request, "version", 0, MAX_VERSION) or None
        unit_id = _text_parameter(request, "unit_id", UNIT_LENGTH).strip()
        organization_id = self.principal.organization_id
        if unit_id and label is None and version is None:
            return self._remembered(lambda: serving.by_slug(organization_id, slug).published(unit_id))
        return self._remembered(lambda: published.load_by_slug(organization_id, slug, version=version, label=label))

    @extend_schema(parameters=[_LABEL])
    def bundle(self, request: Request) -> HttpResponse:
        """Every active prompt with the label (`production` by default), in one answer."""
        label = _label_parameter(request) or PRODUCTION
        organization_id = self.principal.organization_id
        return self._remembered(lambda: published.load_bundle(organization_id, label))

    @extend_schema(parameters=[_FOLDER, _TAG])
    def export(self, request: Request) -> Response:
        """Prompts with all versions and labels as one document that `import` takes."""
        prompts = cast("Any", self.get_queryset()).order_by("slug", "id")
        folder, tag = _text_parameter(request, "folder", SLUG_LENGTH), _text_parameter(request, "tag", TAG_LENGTH)
        if folder:
            prompts = prompts.in_folder(folder)
        if tag:
            prompts = prompts.filter(tags__contains=[tag])
        return Response(services.export_prompts(prompts[: MAX_PROMPTS + 1]))

    @transaction.atomic
    def import_(self, request: Request) -> Response:
        """Make the prompts of a document, all or none."""
        data = self.validated()
        outcomes = services.import_prompts(
            organization_id=self.principal.organization_id,
            prompts=data["prompts"],
            on_conflict=services.OnConflict(data["on_conflict"]),
            imported_by=cast("Any", request.user),
            may_update=self.principal.can("prompts:update"),
            may_move_protected=self.principal.can("prompts:protect"),
        )
        return Response({"prompts": outcomes})


def _split(data: dict[str, Any]) -> tuple[dict[str, Any], services.Definition, dict[str, Any]]:
    """A checked body as fields of the prompt, the definition of a version, and the rest."""
    fields = {name: value for name, value in data.items() if name in _FIELDS}
    definition = {name: value for name, value in data.items() if name in services.DEFAULTS}
    rest = {name: value for name, value in data.items() if name not in fields and name not in definition}
    return fields, cast("services.Definition", definition), rest


def _label_parameter(request: Request) -> str | None:
    label: str | None = request.query_params.get("label")
    if label is not None and not is_label(label):
        raise ValidationError({"label": [str(LABEL.message)]})
    return label


def _text_parameter(request: Request, name: str, longest: int) -> str:
    text: str = request.query_params.get(name, "")
    if len(text) > longest or UNSTORABLE.search(text):
        raise ValidationError({name: [f"At most {longest} characters, without NUL."]})
    return text
