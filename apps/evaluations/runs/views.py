"""Evaluations as resources: made, watched, and steered."""

from typing import Any, ClassVar, cast

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.engine import queue
from apps.evaluations.models import Evaluation
from apps.evaluations.runs import serializers as shapes
from apps.evaluations.runs import services
from apps.evaluations.runs.estimating import estimate
from apps.evaluations.runs.filters import EvaluationFilter
from apps.evaluations.runs.replaying import replay
from apps.evaluations.runs.representation import with_parts
from apps.users.tenancy import CreateMixin, DestroyMixin, ListMixin, PartialUpdateMixin, RetrieveMixin, TenantViewSet
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer

_SHOWN = frozenset({"list", "retrieve", "partial_update"})


class EvaluationViewSet(ListMixin, CreateMixin, RetrieveMixin, PartialUpdateMixin, DestroyMixin, TenantViewSet):
    """Evaluations, newest first, with how far they are."""

    queryset = Evaluation.objects.all()
    serializer_class = shapes.EvaluationSerializer
    filterset_class = EvaluationFilter
    pagination_class = KeysetPagination
    search_fields: ClassVar[list[str]] = ["name", "dataset_version__dataset__slug"]
    permissions = {
        "list": "evaluations:read",
        "create": "evaluations:execute",
        "retrieve": "evaluations:read",
        "partial_update": "evaluations:update",
        "destroy": "evaluations:delete",
        "estimate": "evaluations:execute",
        "replay": "evaluations:execute",
        "cancel": "evaluations:execute",
        "resume": "evaluations:execute",
        "retry_errors": "evaluations:execute",
    }
    further_errors = {"destroy": (409,)}
    input_serializer_classes = {
        "create": shapes.EvaluationInputSerializer,
        "estimate": shapes.EvaluationInputSerializer,
        "replay": shapes.ReplayInputSerializer,
        "partial_update": shapes.EvaluationChangeSerializer,
        "cancel": EmptySerializer,
        "resume": EmptySerializer,
        "retry_errors": EmptySerializer,
    }

    output_serializer_classes = {"estimate": shapes.EvaluationEstimateSerializer}

    def refine(self, queryset: Any) -> Any:
        return with_parts(queryset) if self.action in _SHOWN else queryset

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make evaluation. Everything it names is looked up and pinned, and a worker makes it.

        Subjects that call a prompt or a workflow need `prompts:execute` or `workflows:execute` too, and evaluators
        that call models `prompts:execute`. `details` of a 400 names everything that is wrong: `subjects.1.prompt`.
        """
        return super().create(request, *args, **kwargs)

    def perform_create(self, data: dict[str, Any]) -> Evaluation:
        organization_id = self.principal.organization_id
        made = services.request_evaluation(organization_id=organization_id, by=self.principal, **data)
        return self._whole(made)

    def perform_destroy(self, instance: Evaluation) -> None:
        services.delete_evaluation(evaluation=instance)

    def estimate(self, request: Request, **kwargs: Any) -> Response:
        """Estimate evaluation. What it would cost and how long it would take, and by what that is judged; nothing is
        stored.
        """
        wish = self.validated()
        organization_id = self.principal.organization_id
        pinned = services.pin_wish(organization_id=organization_id, by=self.principal, **wish)
        return Response(estimate(pinned, organization_id=organization_id, **wish))

    @extend_schema(responses={201: shapes.EvaluationSerializer})
    @transaction.atomic
    def replay(self, request: Request, **kwargs: Any) -> Response:
        """Replay executions. They become a dataset, and a candidate answers what they answered; see `diff`.

        Needs `executions:read` and `datasets:create` too, and what the candidate needs.
        """
        wish = self.validated()
        made = replay(
            organization_id=self.principal.organization_id,
            criteria=wish.pop("filter"),
            by=self.principal,
            user=cast("Any", request.user),
            **wish,
        )
        headers = {"Location": f"/api/v1/evaluations/{made.id}"}
        return Response(self.represent(self._whole(made)), status=201, headers=headers)

    @transaction.atomic
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Cancel evaluation. What is being asked now is stopped within about a second, and what has ended stays.
        An ended one is a 409.
        """
        self.validated()
        return Response(self.represent(self._whole(queue.request_cancel(evaluation=self.get_object()))))

    @transaction.atomic
    def resume(self, request: Request, **kwargs: Any) -> Response:
        """Resume evaluation. One that failed or was cancelled goes on where it was; what has ended stays."""
        return self._resumed(retry_errors=False)

    @transaction.atomic
    def retry_errors(self, request: Request, **kwargs: Any) -> Response:
        """Retry errors. Cases that failed are asked again, scores that erred made again, and nothing else."""
        return self._resumed(retry_errors=True)

    def _resumed(self, *, retry_errors: bool) -> Response:
        self.validated()
        again = queue.resume(evaluation=self.get_object(), retry_errors=retry_errors)
        return Response(self.represent(self._whole(again)))

    def _whole(self, evaluation: Evaluation) -> Evaluation:
        found: Evaluation = with_parts(Evaluation.objects.all()).get(id=evaluation.id)
        return found
