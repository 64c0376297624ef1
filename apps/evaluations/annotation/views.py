"""Queues of annotation: making and filling them, annotating, and what came of it."""

from typing import Any, ClassVar, cast

from django.db import transaction
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.annotation import serializers as shapes
from apps.evaluations.annotation.agreement import agreement_of
from apps.evaluations.annotation.claiming import claim_next, release, skip, submit
from apps.evaluations.annotation.datasets import make_dataset
from apps.evaluations.annotation.export import export_csv, export_jsonl
from apps.evaluations.annotation.filling import add_cases, add_executions, add_found_executions, add_items
from apps.evaluations.annotation.filters import AnnotationFilter
from apps.evaluations.annotation.services import create_queue, progress_of, update_queue
from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationTask, Evaluation
from apps.executions.filters import ExecutionFilter
from apps.executions.models import Execution
from apps.users.tenancy import ListMixin, ResourceViewSet, RetrieveMixin, TenantViewSet
from everquant.api.errors import Forbidden
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer

CSV_TYPE, JSONL_TYPE = "text/csv", "application/jsonl"
_EXPORTS = {"jsonl": (JSONL_TYPE, export_jsonl), "csv": (CSV_TYPE, export_csv)}
_FORMAT = OpenApiParameter("format", {"type": "string", "enum": list(_EXPORTS), "default": "jsonl"})
_DEFAULT_LIMIT = 100


class AnnotationQueueViewSet(ResourceViewSet):
    queryset = AnnotationQueue.objects.all()
    serializer_class = shapes.AnnotationQueueSerializer
    search_fields: ClassVar[list[str]] = ["name", "instructions"]
    ordering_fields: ClassVar[list[str]] = ["name", "created_at", "updated_at"]
    permissions = {
        "list": "evaluations:read",
        "retrieve": "evaluations:read",
        "create": "evaluations:create",
        "update": "evaluations:update",
        "partial_update": "evaluations:update",
        "destroy": "evaluations:delete",
        "claim": "executions:score",
        "progress": "evaluations:read",
        "agreement": "evaluations:read",
        "export": "evaluations:read",
        "make_dataset": "datasets:update",
    }
    further_errors = {
        "create": (409,), "update": (409,), "partial_update": (409,), "claim": (409,), "make_dataset": (409,),
    }  # fmt: skip
    query_parameters = {"export": frozenset({"format"})}
    input_serializer_classes = {
        "create": shapes.AnnotationQueueInputSerializer,
        "update": shapes.AnnotationQueueInputSerializer,
        "partial_update": shapes.AnnotationQueueInputSerializer,
        "claim": EmptySerializer,
        "make_dataset": shapes.LabelledInputSerializer,
    }
    output_serializer_classes = {
        "claim": shapes.ClaimSerializer,
        "progress": shapes.QueueProgressSerializer,
        "agreement": shapes.QueueAgreementSerializer,
        "make_dataset": shapes.LabelledSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.alive().prefetch_related("criteria")

    def perform_create(self, data: dict[str, Any]) -> AnnotationQueue:
        return create_queue(
            organization_id=self.principal.organization_id, created_by=cast("Any", self.request.user), **data
        )

    def perform_update(self, instance: AnnotationQueue, data: dict[str, Any]) -> AnnotationQueue:
        return update_queue(queue=instance, fields=data)

    def perform_destroy(self, instance: AnnotationQueue) -> None:
        instance.soft_delete()

    @transaction.atomic
    def claim(self, request: Request, **kwargs: Any) -> Response:
        """Claim the next task. The one that the caller has open, else the least annotated one that they have not done;
        it is theirs for 30 minutes. Never do more people have a task than the queue wants.
        """
        self.validated()
        annotation = claim_next(queue=self.get_object(), by=self.principal)
        return Response({"annotation": annotation and shapes.AnnotationSerializer(annotation).data})

    def progress(self, request: Request, **kwargs: Any) -> Response:
        """How far a queue is, and who has done how much."""
        return Response(progress_of(self.get_object()))

    def agreement(self, request: Request, **kwargs: Any) -> Response:
        """How far annotators agree. For each score config Krippendorff's alpha with an interval, Cohen's kappa of each
        two annotators with enough tasks in common, and the tasks that they disagree on most.
        """
        return Response(agreement_of(self.get_object()))

    @extend_schema(parameters=[_FORMAT], responses={(200, kind): {"type": "string"} for kind in (JSONL_TYPE, CSV_TYPE)})
    def export(self, request: Request, **kwargs: Any) -> StreamingHttpResponse:
        """Submitted annotations as a file, a row for each."""
        form = request.query_params.get("format", "jsonl")
        if form not in _EXPORTS:
            raise ValidationError({"format": [f"Must be one of: {', '.join(_EXPORTS)}."]})
        queue = self.get_object()
        media_type, rows = _EXPORTS[form]
        headers = {"Content-Disposition": f'attachment; filename="annotations-{queue.id}.{form}"'}
        return StreamingHttpResponse(rows(queue), content_type=media_type, headers=headers)

    @extend_schema(responses={201: shapes.LabelledSerializer})
    @transaction.atomic
    def make_dataset(self, request: Request, **kwargs: Any) -> Response:
        """Make a labelled dataset, or a version of one. Its items have the task's input and its output as recorded; the
        labels are in `metadata`, by the names of the score configs, and the first config's under `label` too.
        """
        data = self.validated()
        if "slug" in data and not self.principal.can("datasets:create"):
            raise Forbidden("A new dataset needs datasets:create.")
        told = make_dataset(queue=self.get_object(), by=cast("Any", request.user), **data)
        return Response(told, status=201, headers={"Location": f"/api/v1/datasets/{told['dataset_id']}"})


class _OfQueue(TenantViewSet):
    """What belongs to the queue in the path."""

    def queue(self) -> AnnotationQueue:
        """Raises Http404."""
        queues = AnnotationQueue.objects.for_organization(self.principal.organization_id).alive()
        try:
            found: AnnotationQueue = queues.get(pk=self.kwargs["pk"])
        except AnnotationQueue.DoesNotExist:
            raise Http404 from None
        return found

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(queue=self.queue())


class QueueTasksViewSet(ListMixin, _OfQueue):
    """The tasks of a queue, in their order."""

    queryset = AnnotationTask.objects.all()
    serializer_class = shapes.AnnotationTaskSummarySerializer
    permissions = {"list": "evaluations:read", "add": "evaluations:update"}
    input_serializer_classes = {"add": shapes.AnnotationTasksInputSerializer}
    output_serializer_classes = {"add": shapes.AddedTasksSerializer}

    def refine(self, queryset: Any) -> Any:
        return super().refine(queryset).defer("input", "output", "expected", "context")

    @transaction.atomic
    def add(self, request: Request, **kwargs: Any) -> Response:
        """Add tasks. From executions, from the cases of an evaluation, or as given; each is a snapshot. What is from
        executions needs `executions:read` besides, what is from an evaluation `evaluations:read`.
        """
        data = self.validated()
        queue = self.queue()
        limit = data.get("limit", _DEFAULT_LIMIT)
        if "items" in data:
            return Response(add_items(queue=queue, items=data["items"]))
        if "evaluation_id" in data:
            self._require("evaluations:read")
            evaluation = self._evaluation(data["evaluation_id"])
            wanted, seed = data.get("filter", {}), data.get("seed")
            return Response(add_cases(queue=queue, evaluation=evaluation, wanted=wanted, limit=limit, seed=seed))
        self._require("executions:read")
        if "execution_ids" in data:
            return Response(add_executions(queue=queue, ids=data["execution_ids"]))
        found = self._executions(data["execution_filter"])
        return Response(add_found_executions(queue=queue, executions=found, limit=limit))

    def _require(self, permission: str) -> None:
        if not self.principal.can(permission):
            raise Forbidden(f"This needs {permission}.")

    def _evaluation(self, evaluation_id: Any) -> Evaluation:
        evaluations = Evaluation.objects.for_organization(self.principal.organization_id)
        found: Evaluation | None = evaluations.filter(id=evaluation_id).first()
        if found is None:
            raise ValidationError({"evaluation_id": ["No such object."]})
        return found

    def _executions(self, given: dict[str, str]) -> Any:
        """Those of the organization that pass the filters of their list; raises ValidationError."""
        known = ExecutionFilter.base_filters
        problems = {name: ["Unknown filter."] for name in given if name not in known}
        problems |= {name: ["Must not be empty."] for name, value in given.items() if not value}
        if problems:
            raise ValidationError({"execution_filter": problems})
        query = QueryDict(mutable=True)
        query.update(given)
        found = ExecutionFilter(query, Execution.objects.for_organization(self.principal.organization_id))
        if not found.is_valid():
            raise ValidationError({"execution_filter": cast("Any", dict(found.errors))})
        return found.qs


class QueueAnnotationsViewSet(ListMixin, _OfQueue):
    """The annotations of a queue, newest first."""

    queryset = Annotation.objects.all()
    serializer_class = shapes.AnnotationSummarySerializer
    filterset_class = AnnotationFilter
    pagination_class = KeysetPagination
    permissions = {"list": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return super().refine(queryset).prefetch_related("queue__criteria")


class AnnotationTaskViewSet(RetrieveMixin, TenantViewSet):
    """A task as it was when it was put into its queue."""

    queryset = AnnotationTask.objects.all()
    serializer_class = shapes.AnnotationTaskSerializer
    permissions = {"retrieve": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(queue__deleted_at__isnull=True)


class AnnotationViewSet(RetrieveMixin, TenantViewSet):
    """A claimed task, and what its annotator says of it."""

    queryset = Annotation.objects.all()
    serializer_class = shapes.AnnotationSerializer
    permissions = {
        "retrieve": "evaluations:read",
        "update": "executions:score",
        "skip": "executions:score",
        "release": "executions:score",
    }
    further_errors = {"update": (409,), "skip": (409,), "release": (409,)}
    input_serializer_classes = {
        "update": shapes.AnnotationInputSerializer,
        "skip": EmptySerializer,
        "release": EmptySerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(queue__deleted_at__isnull=True).select_related("task", "queue")

    @transaction.atomic
    def update(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Submit an annotation, or change it. Only the annotator may. Its execution, if it has one, gets the values as
        scores; a change replaces them.
        """
        data = self.validated()
        return self.answer(submit(annotation=self.get_object_for_write(), by=self.principal, **data))

    @transaction.atomic
    def skip(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Skip a task. Its annotator is not given it again."""
        self.validated()
        return Response(self.represent(skip(annotation=self.get_object(), by=self.principal)))

    @extend_schema(responses={204: None})
    @transaction.atomic
    def release(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Give a task back, as if it had not been claimed."""
        self.validated()
        release(annotation=self.get_object(), by=self.principal)
        return Response(status=204)
