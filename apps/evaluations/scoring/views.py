"""Evaluators, their kinds and versions, trials of them, and score configs."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.judging.calling import caller_for
from apps.evaluations.models import Evaluator, EvaluatorVersion, ScoreConfig
from apps.evaluations.scoring import serializers as shapes
from apps.evaluations.scoring import services
from apps.evaluations.scoring.configuring import check_configuration
from apps.evaluations.scoring.filters import EvaluatorFilter, ScoreConfigFilter
from apps.evaluations.scoring.representation import represent_kind
from apps.evaluations.scoring.trying import Trial, try_out
from apps.users.tenancy import ListMixin, PermissionViewSet, ResourceViewSet, RetrieveMixin, TenantViewSet
from apps.workflows.evaluating import ABSENT, Caller, Context, evaluators
from everquant.api.bulkhead import WAITING_CALLS
from everquant.api.errors import Forbidden
from everquant.api.idempotency import given_key
from everquant.db import release_connection, uuid7

MAX_TRIAL_S = 120
_EXECUTE = "prompts:execute"
_CRUD = {
    "list": "evaluations:read",
    "retrieve": "evaluations:read",
    "create": "evaluations:create",
    "update": "evaluations:update",
    "partial_update": "evaluations:update",
    "destroy": "evaluations:delete",
}


class KindViewSet(PermissionViewSet):
    """What evaluators there can be, and trials of configurations that are not stored."""

    permissions = {"kinds": "evaluations:read", "test": "evaluations:execute"}
    serializer_class = shapes.KindsSerializer
    tagged_actions = frozenset({"kinds"})
    network_actions = frozenset({"test"})
    input_serializer_classes = {"test": shapes.TryKindSerializer}
    output_serializer_classes = {"test": shapes.TrialSerializer}

    def kinds(self, request: Request) -> Response:
        """List evaluator kinds. Each with what it does and the JSON Schema of its configuration."""
        found = evaluators()
        return self.answer({"kinds": [represent_kind(found[kind]) for kind in sorted(found)]})

    @extend_schema(operation_id="evaluators_test_kind")
    def test(self, request: Request) -> Response:
        """Try a configuration. Scores one output without storing anything; what cannot be scored is a 200 with `error`.

        Kinds that call models need `prompts:execute` besides; their calls are recorded and paid for.
        """
        given_key(request)
        data = self.validated()
        kind, config = data["kind"], data["config"]
        check_configuration(organization_id=self.principal.organization_id, kind=kind, config=config)
        return Response(self.represent(tried(self, kind, config, data)))


class EvaluatorViewSet(ResourceViewSet):
    queryset = Evaluator.objects.all()
    serializer_class = shapes.EvaluatorSerializer
    filterset_class = EvaluatorFilter
    search_fields: ClassVar[list[str]] = ["slug", "name", "description"]
    ordering_fields: ClassVar[list[str]] = ["name", "slug", "created_at", "updated_at"]
    permissions = {**_CRUD, "test": "evaluations:execute"}
    network_actions = frozenset({"test"})
    further_errors = {"update": (409,), "partial_update": (409,)}
    input_serializer_classes = {
        **dict.fromkeys(["create", "update", "partial_update"], shapes.EvaluatorInputSerializer),
        "test": shapes.TryEvaluatorSerializer,
    }
    output_serializer_classes = {"list": shapes.EvaluatorSummarySerializer, "test": shapes.TrialSerializer}

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: a row that changed while it was waited for would be lost with them."""
        if self.action in {"list", "retrieve", "test"}:
            queryset = queryset.select_related("current_version__score_config")
        return queryset.alive()

    def perform_create(self, data: dict[str, Any]) -> Evaluator:
        return services.create_evaluator(
            organization_id=self.principal.organization_id, created_by=cast("Any", self.request.user), **data
        )

    def perform_update(self, instance: Evaluator, data: dict[str, Any]) -> Evaluator:
        user = cast("Any", self.request.user)
        return services.update_evaluator(evaluator=instance, changes=data, updated_by=user)

    def perform_destroy(self, instance: Evaluator) -> None:
        instance.soft_delete()

    def test(self, request: Request, **kwargs: Any) -> Response:
        """Try an evaluator. Scores one output without storing anything; what cannot be scored is a 200 with `error`.

        Evaluators that call models need `prompts:execute` besides; their calls are recorded and paid for.
        """
        given_key(request)
        evaluator = self.get_object()
        data = self.validated()
        version, config = evaluator.current_version, data["config"]
        if data["version"] is not None:
            version = version_of(evaluator, data["version"])
        if config is not None:
            check_configuration(
                organization_id=evaluator.organization_id,
                kind=evaluator.kind,
                config=config,
                score_config=version.score_config,
            )
        trial = tried(self, evaluator.kind, version.config if config is None else config, data, version.score_config)
        return Response(self.represent(trial))


class EvaluatorVersionViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    """The versions of one evaluator, newest first; the object in the path is the evaluator."""

    queryset = Evaluator.objects.all()
    serializer_class = shapes.EvaluatorVersionSerializer
    permissions = {"list": "evaluations:read", "retrieve": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(EvaluatorVersion.objects.filter(evaluator=self.get_object()))
        return self.get_paginated_response(self.represent(page, many=True))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.answer(version_of(self.get_object(), kwargs["number"]))


class ScoreConfigViewSet(ResourceViewSet):
    """What values scores of a name may have, whoever gives them: people, programs and evaluators."""

    queryset = ScoreConfig.objects.all()
    serializer_class = shapes.ScoreConfigSerializer
    filterset_class = ScoreConfigFilter
    search_fields: ClassVar[list[str]] = ["name", "description"]
    ordering_fields: ClassVar[list[str]] = ["name", "created_at", "updated_at"]
    permissions = _CRUD
    further_errors = {"update": (409,), "partial_update": (409,)}
    input_serializer_classes = dict.fromkeys(["create", "update", "partial_update"], shapes.ScoreConfigInputSerializer)

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def perform_create(self, data: dict[str, Any]) -> ScoreConfig:
        return services.create_score_config(
            organization_id=self.principal.organization_id, created_by=cast("Any", self.request.user), **data
        )

    def perform_update(self, instance: ScoreConfig, data: dict[str, Any]) -> ScoreConfig:
        return services.update_score_config(config=instance, changes=data)

    def perform_destroy(self, instance: ScoreConfig) -> None:
        instance.soft_delete()


def version_of(evaluator: Evaluator, number: int) -> EvaluatorVersion:
    """Raises Http404."""
    try:
        return evaluator.versions.select_related("score_config").get(version_number=number)
    except EvaluatorVersion.DoesNotExist:
        raise Http404 from None


def tried(
    view: PermissionViewSet,
    kind: str,
    config: Mapping[str, Any],
    material: Mapping[str, Any],
    score_config: ScoreConfig | None = None,
) -> Trial:
    """Raises Forbidden when it would call models for somebody who may not."""
    evaluator = evaluators()[kind]
    context = Context(
        output=material["output"],
        expected=material.get("expected", ABSENT),
        input=material.get("input"),
        metadata=material["metadata"],
        other_output=material.get("other_output", ABSENT),
        latency_ms=material["latency_ms"],
        cost_usd=material["cost_usd"],
        caller=_caller_for(view) if evaluator.calls_models else None,
    )
    release_connection()
    if not evaluator.calls_models:
        return try_out(evaluator, config, context, score_config)
    with WAITING_CALLS.enter():
        return try_out(evaluator, config, context, score_config)


def _caller_for(view: PermissionViewSet) -> Caller:
    principal = view.principal
    if not principal.can(_EXECUTE):
        raise Forbidden(f"This evaluator calls models: that needs {_EXECUTE}.")
    return caller_for(
        organization_id=principal.organization_id,
        created_by_id=principal.user_id,
        api_key_id=principal.api_key_id,
        key_prefix=f"trial:{uuid7()}",
        deadline=time.monotonic() + MAX_TRIAL_S,
    )
