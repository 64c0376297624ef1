"""Promotion policies, and what they demand of a version."""

from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.models import Evaluation, PromotionApproval, PromotionPolicy
from apps.evaluations.promotion import approvals, gating, policies
from apps.evaluations.promotion import serializers as shapes
from apps.evaluations.promotion.requirements import requirements
from apps.evaluations.promotion.targets import current_version, right_to_protect, version_of
from apps.evaluations.runs.representation import with_parts
from apps.evaluations.runs.serializers import EvaluationSerializer
from apps.prompts.models import LABEL_LENGTH
from apps.prompts.serializers import MAX_VERSION
from apps.users.permissions import PERSON
from apps.users.tenancy import ResourceViewSet, TenantViewSet
from everquant.api.errors import Forbidden
from everquant.api.filters import TrueFalseFilter
from everquant.api.pagination import integer_parameter

_READ, _PROTECT, _EXECUTE = "evaluations:read", "prompts:protect", "evaluations:execute"
_VERSION = OpenApiParameter(
    "version", {"type": "integer", "minimum": 1, "maximum": MAX_VERSION}, required=True, description="Its number."
)


class PolicyFilter(django_filters.FilterSet):
    prompt_id = django_filters.UUIDFilter()
    workflow_id = django_filters.UUIDFilter()
    label = django_filters.CharFilter(max_length=LABEL_LENGTH)
    is_active = TrueFalseFilter()


class PromotionPolicyViewSet(ResourceViewSet):
    """What a label demands before it moves. Policies for workflows need `workflows:protect` too."""

    queryset = PromotionPolicy.objects.all()
    serializer_class = shapes.PromotionPolicySerializer
    filterset_class = PolicyFilter
    ordering_fields: ClassVar[list[str]] = ["label", "created_at", "updated_at"]
    permissions = {
        "list": _READ,
        "retrieve": _READ,
        "create": _PROTECT,
        "update": _PROTECT,
        "partial_update": _PROTECT,
        "destroy": _PROTECT,
        "read_status": _READ,
        "evaluate": _EXECUTE,
        "gate": _EXECUTE,
    }
    query_parameters = {"read_status": frozenset({"version"})}
    input_serializer_classes = {
        "create": shapes.PromotionPolicyInputSerializer,
        "update": shapes.PromotionPolicyChangeSerializer,
        "partial_update": shapes.PromotionPolicyChangeSerializer,
        "evaluate": shapes.EvaluateVersionSerializer,
        "gate": shapes.GateVersionSerializer,
    }
    output_serializer_classes = {
        "read_status": shapes.PromotionStatusSerializer,
        "evaluate": EvaluationSerializer,
        "gate": shapes.PromotionPolicyGateSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: one that changed while it was waited for would be lost with them."""
        queryset = queryset.alive()
        return queryset.with_target() if self.action in {"list", "retrieve"} else queryset

    def perform_create(self, data: dict[str, Any]) -> PromotionPolicy:
        kind = "prompt" if "prompt" in data else "workflow"
        target = policies.find_target(self.principal.organization_id, kind, data.pop(kind))
        self._require_right(f"{kind}s:protect")
        return policies.create_policy(target=target, created_by_id=self.principal.user_id, **data)

    def perform_update(self, instance: PromotionPolicy, data: dict[str, Any]) -> PromotionPolicy:
        self._require_right(right_to_protect(instance))
        return policies.update_policy(policy=instance, **data)

    def perform_destroy(self, instance: PromotionPolicy) -> None:
        self._require_right(right_to_protect(instance))
        instance.soft_delete()

    def _require_right(self, right: str) -> None:
        if not self.principal.can(right):
            raise Forbidden(f"Policies for these need {right}.")

    @extend_schema(parameters=[_VERSION], summary="What a version still needs")
    def read_status(self, request: Request, pk: UUID) -> Response:
        """What a version still needs before the caller may move the label to it."""
        number = integer_parameter(request, "version", 0, MAX_VERSION)
        if not number:
            raise ValidationError({"version": ["This parameter is required."]})
        policy = self.get_object()
        version, current = version_of(policy, number), current_version(policy)
        found = requirements(policy, version=version, current=current, mover_id=self.principal.user_id)
        status = {
            "version": number,
            "current_version": current.version_number if current is not None else None,
            "revision": policy.revision,
            "is_active": policy.is_active,
            "may_move": not (policy.is_active and found.missing),
            "missing": found.missing,
            "gate": found.gate,
            "approvals": found.approvals,
            "approvals_counted": len(found.counted),
            "approvals_needed": policy.min_approvals,
        }
        return Response(self.represent(status))

    @extend_schema(responses={201: EvaluationSerializer}, summary="Evaluate a version")
    @transaction.atomic
    def evaluate(self, request: Request, pk: UUID) -> Response:
        """Evaluate a version as the policy demands, beside the one that the label points at.

        Needs what the evaluation needs: `prompts:execute` or `workflows:execute`.
        """
        data = self.validated()
        made = gating.evaluate_version(
            policy=self.get_object(), version_number=data.pop("version"), by=self.principal, **data
        )
        whole = with_parts(Evaluation.objects.all()).get(id=made.id)
        return Response(self.represent(whole), status=201, headers={"Location": f"/api/v1/evaluations/{made.id}"})

    @extend_schema(summary="Put a version through the gate")
    @transaction.atomic
    def gate(self, request: Request, pk: UUID) -> Response:
        """The verdict of the policy's rules on an evaluation of what the policy demands. The newest one counts."""
        data = self.validated()
        policy = self.get_object()
        mine = Evaluation.objects.for_organization(self.principal.organization_id)
        evaluation = mine.filter(id=data["evaluation_id"]).first()
        if evaluation is None:
            raise ValidationError({"evaluation_id": ["No such object."]})
        made = gating.gate_version(
            policy=policy, evaluation=evaluation, version_number=data["version"], by=self.principal
        )
        return Response(self.represent(made))


class PromotionApprovalViewSet(TenantViewSet):
    """What people say of versions for a policy's label; the object in the path is the policy."""

    queryset = PromotionPolicy.objects.all()
    serializer_class = shapes.PromotionApprovalSerializer
    permissions = {"list": _READ, "create": PERSON, "destroy": PERSON}
    further_errors = {"destroy": (409,)}
    guarded_actions = frozenset()
    tagged_actions = frozenset()
    input_serializer_classes = {"create": shapes.PromotionDecisionSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def list(self, request: Request, pk: UUID) -> Response:
        """Approvals and rejections, withdrawn ones too."""
        page = self.paginate_queryset(self.get_object().approvals.select_related("user"))
        return self.get_paginated_response(self.represent(page, many=True))

    @transaction.atomic
    def create(self, request: Request, pk: UUID) -> Response:
        """Approve or reject a version. People only; their right to change the prompt or workflow is needed.

        It replaces what the caller said of the version before. A rejection forbids the move until it is withdrawn.
        """
        data = self.validated()
        made = approvals.decide(policy=self.get_object(), by=self.principal, **data)
        return Response(self.represent(made), status=201, headers={"Location": request.path})

    @transaction.atomic
    def destroy(self, request: Request, pk: UUID, approval_id: UUID) -> Response:
        """Withdraw what the caller said."""
        approval = PromotionApproval.objects.filter(policy=self.get_object(), id=approval_id).first()
        if approval is None:
            raise Http404
        approvals.withdraw_decision(approval=approval, by=self.principal)
        return Response(status=204)
