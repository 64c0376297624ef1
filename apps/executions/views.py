"""Executing a prompt, reading executions, and scoring them."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.executions import orchestrator
from apps.executions.events import START, events_of
from apps.executions.failures import failure_of
from apps.executions.filters import ExecutionFilter
from apps.executions.models import Execution, Score
from apps.executions.orchestrator import Command, Finished, IdempotencyClaim, Prepared, live
from apps.executions.orchestrator.watching import WATCHES, open_watch
from apps.executions.pagination import ExecutionPagination
from apps.executions.representation import end_event, represent, represent_finished, represent_stored
from apps.executions.serializers import (
    ExecuteSerializer,
    ExecutionSerializer,
    ExecutionSummarySerializer,
    ScoreInputSerializer,
    ScoreSerializer,
)
from apps.executions.services import add_score, cancel_execution, retry_execution
from apps.models.providers.base import Delta
from apps.prompts.models import is_slug
from apps.users.tenancy import CreateMixin, ListMixin, PermissionViewSet, RetrieveMixin, TenantViewSet
from everquant.api.bulkhead import WAITING_CALLS, Slot
from everquant.api.errors import NotFound, error_body
from everquant.api.idempotency import REPLAYED, fingerprint_of, given_key
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer
from everquant.api.sse import (
    CONTENT_TYPE,
    EVENT_SCHEMA,
    HEARTBEAT,
    HEARTBEAT_S,
    LAST_EVENT_ID_PARAMETER,
    encode_event,
    event_stream,
    last_event_id,
)
from everquant.api.watching import watched_stream
from everquant.db import release_connection

_EXECUTE_ANSWERS: Any = {
    (200, "application/json"): ExecutionSerializer,
    (202, "application/json"): ExecutionSerializer,
    (200, CONTENT_TYPE): EVENT_SCHEMA,
}
_EXECUTES = frozenset({"execute", "execute_by_slug"})
# Shared by all requests: it keeps no state, and to build it anew costs more than all the rest of the view.
_EXECUTE = ExecuteSerializer()


class ExecuteViewSet(PermissionViewSet):
    """Executes a prompt and waits for its answer, streams it, or leaves it to a worker."""

    serializer_class = ExecuteSerializer
    permissions = dict.fromkeys(_EXECUTES, "prompts:execute")
    network_actions = _EXECUTES
    keyed_network_actions = _EXECUTES
    further_errors = dict.fromkeys(_EXECUTES, (402, 404, 409, 502, 504))
    output_serializer_classes = dict.fromkeys(_EXECUTES, ExecutionSerializer)

    @extend_schema(
        operation_id="prompts_execute",
        tags=["prompts"],
        request=ExecuteSerializer,
        responses=_EXECUTE_ANSWERS,
        summary="Execute prompt",
        description=(
            "Needs `prompts:execute`. With `stream` the answer is a stream of events: `execution.started`, "
            "`execution.delta` (`{execution_id, text, tool_calls}`), then `execution.completed`, `execution.failed` or "
            "`execution.cancelled` with the execution. A client may leave: unless the server is set to cancel, the "
            "answer is still taken to its end, recorded and charged. With `mode: async` the answer is a 202 with the "
            "queued execution and its `Location`: a worker calls, and `GET /executions/{id}/events` streams. "
            "After a 502, 504 or 429 of the provider, `details.execution_id` says where to read what was recorded."
        ),
    )
    def execute(self, request: Request, pk: UUID) -> HttpResponseBase:
        return _executed(self._command(request, prompt_id=pk))

    @extend_schema(
        operation_id="prompts_execute_by_slug",
        tags=["prompts"],
        request=ExecuteSerializer,
        responses=_EXECUTE_ANSWERS,
        summary="Execute prompt by slug",
        description="As `POST /prompts/{id}/execute`, for the prompt of this slug. Needs `prompts:execute`.",
    )
    def execute_by_slug(self, request: Request, slug: str) -> HttpResponseBase:
        if not is_slug(slug):
            raise NotFound("No such object.")
        return _executed(self._command(request, slug=slug))

    def names_to_prefetch(self, organization_id: UUID) -> Iterable[str]:
        return orchestrator.names_to_prefetch(organization_id)

    def _command(self, request: Request, **prompt: Any) -> Command:
        wish = _EXECUTE.run_validation(request.data)
        key = given_key(request)
        return Command(
            **prompt,
            organization_id=self.principal.organization_id,
            variables=wish["variables"],
            version=wish["version"],
            label=wish["label"],
            model_id=wish["model_id"],
            parameters=wish["parameters"],
            append_messages=wish["append_messages"],
            cache_ttl_s=wish["cache_ttl_s"],
            is_streamed=wish["stream"],
            is_background=wish["mode"] == "async",
            unit_id=wish["unit_id"],
            metadata=wish["metadata"],
            created_by_id=self.principal.user_id,
            api_key_id=self.principal.api_key_id,
            idempotency=IdempotencyClaim(key, fingerprint_of(request)) if key else None,
        )


def _executed(command: Command) -> HttpResponseBase:
    if command.is_background:
        return _queued(orchestrator.prepare(command))
    slot = WAITING_CALLS.enter()
    if command.is_streamed:
        return _streamed(command, slot)
    with slot:
        finished = orchestrator.execute(command)
    if not finished.has_succeeded:
        raise failure_of(finished)
    return Response(represent_finished(finished), headers={REPLAYED: "true"} if finished.is_replayed else None)


def _queued(prepared: Prepared) -> Response:
    execution = prepared.execution
    payload = prepared.payload
    data = represent_stored(execution) if payload is None else represent(execution, payload, [])
    headers = {"Location": f"/api/v1/executions/{execution.id}"}
    return Response(data, status=202, headers={**headers, REPLAYED: "true"} if prepared.is_replay else headers)


def _streamed(command: Command, slot: Slot) -> HttpResponseBase:
    try:
        running = live.prepare_live(command)
        prepared = running.prepared
        payload = prepared.payload or prepared.execution.kept_payload
        opening = encode_event(1, "execution.started", represent(prepared.execution, payload, []))
        running.begin()
    except BaseException:
        slot.release()
        raise
    response = event_stream(_events(opening, running), partial(_leave, running, slot))
    if prepared.is_replay:
        response.headers[REPLAYED] = "true"
    return response


def _leave(running: live.LiveExecution, slot: Slot) -> None:
    slot.release()
    if settings.ON_DISCONNECT == "cancel":
        running.cancel()


def _events(opening: bytes, running: live.LiveExecution) -> Iterator[bytes]:
    yield opening
    number = 1
    for event in running.events(HEARTBEAT_S):
        if event is None:
            yield HEARTBEAT
            continue
        number += 1
        yield encode_event(number, *_described(running.prepared.execution.id, event))


def _described(execution_id: UUID, event: live.LiveEvent) -> tuple[str, Any]:
    if isinstance(event, Delta):
        calls = [
            {"index": call.index, "id": call.id, "name": call.name, "arguments": call.arguments}
            for call in event.tool_calls
        ]
        return "execution.delta", {"execution_id": execution_id, "text": event.text, "tool_calls": calls}
    if isinstance(event, Finished):
        return end_event(event.execution), represent_finished(event)
    return "error", error_body(event)["error"]


class ExecutionViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    queryset = Execution.objects.all()
    serializer_class = ExecutionSerializer
    filterset_class = ExecutionFilter
    pagination_class = ExecutionPagination
    permissions = {
        "list": "executions:read",
        "retrieve": "executions:read",
        "cancel": "prompts:execute",
        "retry": "prompts:execute",
        "events": "executions:read",
    }
    further_errors = {"retry": (402,)}
    input_serializer_classes = {"cancel": EmptySerializer, "retry": EmptySerializer}
    output_serializer_classes = {"list": ExecutionSummarySerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset if self.action == "list" else queryset.whole()

    def cancel(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Cancel execution. A queued one is cancelled at once; a running one is `running` with
        `cancel_requested_at` until its process has stopped the call, within about a second. A finished one is a 409.
        """
        self.validated()
        return Response(represent_stored(cancel_execution(execution=self.get_object())))

    @extend_schema(parameters=[LAST_EVENT_ID_PARAMETER], responses={(200, CONTENT_TYPE): EVENT_SCHEMA})
    def events(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Stream execution events. `execution.started`, `execution.delta`, then `execution.completed`,
        `execution.failed` or `execution.cancelled`, also while it runs elsewhere; after `Last-Event-ID` when given.
        """
        last_id = last_event_id(request)
        execution = self.get_object()
        slot = WAITING_CALLS.enter()
        watch = open_watch(execution.id, seen=max(last_id, START))
        release_connection()
        return watched_stream(WATCHES, watch, slot, events_of(watch, last_id))

    @extend_schema(responses={202: ExecutionSerializer})
    def retry(self, request: Request, pk: UUID) -> HttpResponseBase:
        """Retry execution. A failed or cancelled one is asked again, in the background, as a new execution."""
        self.validated()
        again = retry_execution(execution=self.get_object(), by=self.principal)
        return Response(represent_stored(again), status=202, headers={"Location": f"/api/v1/executions/{again.id}"})


class ScoreViewSet(ListMixin, CreateMixin, TenantViewSet):
    """The scores of one execution, newest first."""

    queryset = Score.objects.all()
    serializer_class = ScoreSerializer
    pagination_class = KeysetPagination
    permissions = {"list": "executions:read", "create": "executions:score"}
    input_serializer_classes = {"create": ScoreInputSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.of(self.kwargs["pk"])

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self._execution()
        return super().list(request, *args, **kwargs)

    def perform_create(self, data: dict[str, Any]) -> Score:
        return add_score(execution=self._execution(), by=self.principal, **data)

    def location_of(self, instance: Score) -> str:
        return self.request.path

    def _execution(self) -> Execution:
        try:
            found: Execution = Execution.objects.for_organization(self.principal.organization_id).get(
                id=self.kwargs["pk"]
            )
        except Execution.DoesNotExist:
            raise Http404 from None
        return found
