"""Runs of workflows: begun, read, watched, and steered."""

from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users.permissions import PERSON
from apps.users.tenancy import ListMixin, RetrieveMixin, TenantViewSet
from apps.workflows import run_serializers as shapes
from apps.workflows.definition.mermaid import mermaid
from apps.workflows.definition.parsing import parse
from apps.workflows.engine.ending import request_cancel
from apps.workflows.filters import RunFilter, StepFilter
from apps.workflows.models import Workflow, WorkflowRun, WorkflowStep
from apps.workflows.representation import represent_run
from apps.workflows.serializers import DiagramSerializer
from apps.workflows.services import approvals
from apps.workflows.services.runs import execute_workflow, fork, retry_run
from apps.workflows.watching import WATCHES, events_of, open_watch, wait_for_end
from everquant.api.bulkhead import WAITING_CALLS
from everquant.api.idempotency import REPLAYED, given_key, run_once
from everquant.api.pagination import KeysetPagination, integer_parameter
from everquant.api.serializers import EmptySerializer
from everquant.api.sse import CONTENT_TYPE, EVENT_SCHEMA, LAST_EVENT_ID_PARAMETER, MAX_EVENT_ID, last_event_id
from everquant.api.watching import watched_stream
from everquant.db import release_connection

_LARGE = ("inputs", "outputs")
_AFTER = OpenApiParameter(
    "after",
    {"type": "integer", "minimum": 0, "maximum": MAX_EVENT_ID},
    description="As Last-Event-ID, for readers that cannot send it. The later of the two counts.",
)


def _started(run: WorkflowRun) -> Response:
    return Response(represent_run(run), status=202, headers={"Location": f"/api/v1/workflow-runs/{run.id}"})


class WorkflowExecuteViewSet(TenantViewSet):
    queryset = Workflow.objects.all()
    serializer_class = shapes.ExecuteWorkflowSerializer
    permissions = {"execute": "workflows:execute"}
    network_actions = frozenset({"execute"})
    keyed_network_actions = frozenset({"execute"})
    output_serializer_classes = {"execute": shapes.RunSerializer}

    @extend_schema(responses={200: shapes.RunSerializer, 202: shapes.RunSerializer})
    def execute(self, request: Request, **kwargs: Any) -> Response:
        """Run a workflow. 202 with the queued run and its Location; with `wait_s` 200 with the finished run, if it
        ends in that time.
        """
        wish = self.validated()
        wait_s = wish.pop("wait_s")
        if not wait_s:
            return self._start_once(request, wish)
        with WAITING_CALLS.enter():
            response = self._start_once(request, wish)
            run_id = UUID(str(response.data["id"]))
            release_connection()
            wait_for_end(run_id, wait_s)
            return self._after_waiting(run_id, response)

    def _start_once(self, request: Request, wish: dict[str, Any]) -> Response:
        key = given_key(request)
        if key is not None:
            return run_once(request, key, partial(self._start, wish))
        return self._start(wish)

    def _start(self, wish: dict[str, Any]) -> Response:
        named = {"organization_id": self.principal.organization_id, "workflow_id": self.kwargs["pk"]}
        return _started(execute_workflow(**named, by=self.principal, **wish))

    def _after_waiting(self, run_id: UUID, response: Response) -> Response:
        run = WorkflowRun.objects.for_organization(self.principal.organization_id).get(id=run_id)
        now = Response(represent_run(run)) if run.is_finished else _started(run)
        if REPLAYED in response.headers:
            now.headers[REPLAYED] = response.headers[REPLAYED]
        return now


class RunViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    queryset = WorkflowRun.objects.all()
    serializer_class = shapes.RunSerializer
    filterset_class = RunFilter
    pagination_class = KeysetPagination
    permissions = {
        "list": "workflows:read",
        "retrieve": "workflows:read",
        "events": "workflows:read",
        "diagram": "workflows:read",
        "cancel": "workflows:execute",
        "retry": "workflows:execute",
        "fork": "workflows:execute",
        "resume": PERSON,
    }
    query_parameters = {"events": frozenset({"after"})}
    input_serializer_classes = {
        "cancel": EmptySerializer,
        "retry": shapes.RetryRunSerializer,
        "fork": shapes.ForkRunSerializer,
        "resume": shapes.ResumeSerializer,
    }
    output_serializer_classes = {
        "list": shapes.RunSummarySerializer,
        "diagram": DiagramSerializer,
        "resume": shapes.ApprovalSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        if self.action == "list":
            return queryset.defer(*_LARGE)
        if self.action in {"retry", "fork"}:
            return queryset.select_related("workflow", "version").defer("workflow__draft")
        return queryset.select_related("version").defer(*_LARGE) if self.action == "diagram" else queryset

    @extend_schema(parameters=[LAST_EVENT_ID_PARAMETER, _AFTER], responses={(200, CONTENT_TYPE): EVENT_SCHEMA})
    def events(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """Stream run events. All that are stored, then those that come, until the run's last one; none is left out or
        sent twice to who comes back with its `Last-Event-ID`.
        """
        after = max(last_event_id(request), integer_parameter(request, "after", 0, MAX_EVENT_ID, lowest=0))
        run = self.get_object()
        slot = WAITING_CALLS.enter()
        watch = open_watch(run.id, after)
        release_connection()
        return watched_stream(WATCHES, watch, slot, events_of(watch))

    def diagram(self, request: Request, **kwargs: Any) -> Response:
        """A diagram of what the run has come to."""
        run = self.get_object()
        steps = WorkflowStep.objects.filter(run=run).order_by("path", "attempt")
        states = dict(steps.values_list("path", "status"))
        return Response({"mermaid": mermaid(parse(run.version.definition), states)})

    @transaction.atomic
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Cancel run. One that no worker has is cancelled at once; a running one is `running` with
        `cancel_requested_at` until its worker has stopped, within a second or two. A finished one is a 409.
        """
        self.validated()
        return Response(represent_run(request_cancel(run=self.get_object())))

    @extend_schema(responses={202: shapes.RunSerializer})
    @transaction.atomic
    def retry(self, request: Request, **kwargs: Any) -> Response:
        """Retry run. A new run of the same version takes over what ended well, but for a node and what follows it."""
        return _started(retry_run(run=self.get_object(), by=self.principal, node_id=self.validated()["from"]))

    @extend_schema(responses={202: shapes.RunSerializer})
    @transaction.atomic
    def fork(self, request: Request, **kwargs: Any) -> Response:
        """Fork a finished run. A new run, from a node on, with other inputs or of another version."""
        data = self.validated()
        data["node_id"] = data.pop("node")
        return _started(fork(run=self.get_object(), by=self.principal, **data))

    @transaction.atomic
    def resume(self, request: Request, **kwargs: Any) -> Response:
        """Answer an approval that the run waits for. By whom it was asked of, and never by an API key; a second
        answer, or one after its expiry, is a 409.
        """
        data = self.validated()
        wanted = {"approval_id": data.pop("approval_id"), "path": data.pop("path")}
        approval = approvals.pending_approval(self.get_object(), **wanted)
        return Response(self.represent(approvals.decide(approval=approval, by=self.principal, **data)))


class WorkflowRunsViewSet(ListMixin, TenantViewSet):
    """The runs of one workflow, newest first."""

    queryset = WorkflowRun.objects.all()
    serializer_class = shapes.RunSummarySerializer
    filterset_class = RunFilter
    pagination_class = KeysetPagination
    permissions = {"list": "workflows:read"}

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(workflow_id=self.kwargs["pk"]).defer(*_LARGE)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        _require(Workflow.objects.for_organization(self.principal.organization_id).alive(), self.kwargs["pk"])
        return super().list(request, *args, **kwargs)


class StepViewSet(ListMixin, TenantViewSet):
    """Attempts at nodes, in the order in which they began."""

    queryset = WorkflowRun.objects.all()
    serializer_class = shapes.StepSerializer
    filterset_class = StepFilter
    permissions = {"list": "workflows:read"}

    def refine(self, queryset: Any) -> Any:
        return WorkflowStep.objects.filter(run__in=queryset.filter(id=self.kwargs["pk"]))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        _require(WorkflowRun.objects.for_organization(self.principal.organization_id), self.kwargs["pk"])
        return super().list(request, *args, **kwargs)


def _require(queryset: Any, key: UUID) -> None:
    """Raises Http404."""
    if not queryset.filter(id=key).exists():
        raise Http404
