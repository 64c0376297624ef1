"""Triggers, and the one address that those call who cannot sign in."""

from typing import Any, ClassVar
from uuid import UUID

import structlog
from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users.permissions import PUBLIC
from apps.users.tenancy import PermissionViewSet
from apps.workflows.models import Workflow, WorkflowTrigger
from apps.workflows.starter_views import CHANGE, OfWorkflowViewSet, StarterViewSet, require_runner
from apps.workflows.triggers import services
from apps.workflows.triggers.firing import authenticate, fire
from apps.workflows.triggers.serializers import (
    FiredSerializer,
    NewTriggerSerializer,
    TriggerInputSerializer,
    TriggerSerializer,
)
from everquant.api.bulkhead import BODIES
from everquant.api.errors import PayloadTooLarge, Unauthorized, UnsupportedMediaType
from everquant.api.serializers import EmptySerializer
from everquant.api.throttling import RequestThrottle, count_request
from everquant.cache import RedisAway
from everquant.metrics import RATE_LIMIT_FAIL_OPEN

logger = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
_HEADERS = {
    "webhook-id": "Names the message: the same again starts nothing, and answers the same run.",
    "webhook-timestamp": "Seconds since 1970, at most five minutes from now.",
    "webhook-signature": "`v1,` and the base64 of an HMAC-SHA256; several with spaces between.",
}


class TriggersOfWorkflowViewSet(OfWorkflowViewSet):
    """Runs of this workflow by signed calls."""

    model = WorkflowTrigger
    collection = "workflow-triggers"
    serializer_class = TriggerSerializer
    input_serializer_classes: ClassVar[dict[str, Any]] = {"create": TriggerInputSerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {"create": NewTriggerSerializer}

    def make(self, workflow: Workflow, data: dict[str, Any]) -> WorkflowTrigger:
        return _with_secret(*services.create_trigger(workflow=workflow, created_by_id=self.principal.user_id, **data))


class TriggerViewSet(StarterViewSet):
    """Runs of workflows by signed calls (Standard Webhooks)."""

    queryset = WorkflowTrigger.objects.all()
    serializer_class = TriggerSerializer
    permissions: ClassVar[dict[str, str]] = {**StarterViewSet.permissions, "rotate_secret": CHANGE}
    tagged_actions = StarterViewSet.tagged_actions | {"rotate_secret"}
    guarded_actions = StarterViewSet.guarded_actions | {"rotate_secret"}
    input_serializer_classes: ClassVar[dict[str, Any]] = {
        "update": TriggerInputSerializer,
        "partial_update": TriggerInputSerializer,
        "rotate_secret": EmptySerializer,
    }
    output_serializer_classes: ClassVar[dict[str, Any]] = {"rotate_secret": NewTriggerSerializer}

    def perform_update(self, instance: WorkflowTrigger, data: dict[str, Any]) -> WorkflowTrigger:
        require_runner(self.principal)
        return services.update_trigger(trigger=instance, **data)

    @extend_schema(summary="Replace the secret")
    @transaction.atomic
    def rotate_secret(self, request: Request, pk: UUID) -> Response:
        """A new secret. For 24 hours calls may be signed with the old one as well."""
        self.validated()
        require_runner(self.principal)
        trigger = self.get_object_for_write()
        _with_secret(trigger, services.rotate_secret(trigger=trigger))
        return self.answer(trigger, headers={"ETag": self.etag_of_read(trigger)})


def _with_secret(trigger: WorkflowTrigger, secret: str) -> WorkflowTrigger:
    trigger.secret = secret  # type: ignore[attr-defined] # shown by NewTriggerSerializer
    return trigger


class FireViewSet(PermissionViewSet):
    """A call is its own sign-in, and `webhook-id` its own idempotency key."""

    serializer_class = FiredSerializer
    permissions: ClassVar[dict[str, str]] = {"fire": PUBLIC}
    network_actions = frozenset({"fire"})
    further_errors = {"fire": (409,)}
    pagination_class = None

    def check_throttles(self, request: Request) -> None:
        """By trigger, once the signature is right, and by address where it is not: see `fire`."""

    @extend_schema(
        summary="Start a run by a signed call",
        parameters=[
            OpenApiParameter(name, {"type": "string"}, OpenApiParameter.HEADER, required=True, description=text)
            for name, text in _HEADERS.items()
        ],
        request={"application/json": {"description": "Whatever the sender has to say, at most 256 KiB."}},
        responses={202: FiredSerializer},
    )
    def fire(self, request: Request, pk: UUID) -> Response:
        """Signed as Standard Webhooks have it, with the trigger's secret. No other sign-in is needed.

        The body is the run's inputs, or what they are made of by the trigger's `inputs`.
        """
        body = _read_body(request)
        message_id, timestamp, signature = (request.headers.get(name, "") for name in _HEADERS)
        try:
            trigger = authenticate(pk, message_id=message_id, timestamp=timestamp, signature=signature, body=body)
        except Unauthorized:
            RequestThrottle.count_refusal(request)
            raise
        self._count(request, trigger)
        if not _is_json(request):
            raise UnsupportedMediaType("The body must be JSON, and say so by its Content-Type.")
        return Response({"run_id": fire(trigger=trigger, message_id=message_id, body=body)}, status=202)

    def _count(self, request: Request, trigger: WorkflowTrigger) -> None:
        try:
            self.rate_limit_usage = count_request(request._request, group="trigger", value=str(trigger.id))
        except RedisAway:
            RATE_LIMIT_FAIL_OPEN.inc()
            logger.warning("rate_limit_fail_open")


def _read_body(request: Request) -> bytes:
    """As it came: the signature is of these bytes. Raises PayloadTooLarge before anything is read."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"The body may have at most {MAX_BODY_BYTES} bytes.")
    with BODIES.enter():
        return bytes(request._request.body)


def _is_json(request: Request) -> bool:
    media_type = (request.content_type or "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
