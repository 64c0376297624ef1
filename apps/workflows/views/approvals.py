"""The inbox: what runs wait for people to decide."""

from typing import Any

from django.db.models import Q
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from apps.users.tenancy import ListMixin, RetrieveMixin, TenantViewSet
from apps.workflows.filters import ApprovalFilter
from apps.workflows.models import Approval, ApprovalStatus
from apps.workflows.run_serializers import ApprovalSerializer
from apps.workflows.services.approvals import names_of
from everquant.api.pagination import KeysetPagination

_ANY = "any"
_STATUS = OpenApiParameter("status", {"type": "string", "enum": [*ApprovalStatus.values, _ANY], "default": "pending"})
_MINE = OpenApiParameter(
    "mine", {"type": "boolean", "default": True}, description="Only those that the caller may answer."
)


class ApprovalViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    """Without parameters, pending ones that the caller may answer, newest first; `resume` of the run answers."""

    queryset = Approval.objects.all()
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    pagination_class = KeysetPagination
    permissions = {"list": "workflows:read", "retrieve": "workflows:read"}
    query_parameters = {"list": frozenset({"status", "mine"})}

    def refine(self, queryset: Any) -> Any:
        queryset = queryset.select_related("run").defer("run__inputs", "run__outputs")
        return self._wanted(queryset) if self.action == "list" else queryset

    @extend_schema(parameters=[_STATUS, _MINE])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().list(request, *args, **kwargs)

    def _wanted(self, queryset: Any) -> Any:
        parameters = self.request.query_params
        status, mine = parameters.get("status", ApprovalStatus.PENDING), parameters.get("mine", "true")
        if status not in {*ApprovalStatus.values, _ANY}:
            raise ValidationError({"status": [f"Must be one of: {', '.join(ApprovalStatus.values)}, {_ANY}."]})
        if mine not in {"true", "false"}:
            raise ValidationError({"mine": ["Must be true or false."]})
        if status != _ANY:
            queryset = queryset.filter(status=status)
        return queryset.filter(self._is_mine()) if mine == "true" else queryset

    def _is_mine(self) -> Q:
        """As `services.approvals.require_assignee` decides."""
        if self.principal.api_key_id is not None:
            return Q(pk__in=[])
        named = Q(assignees__overlap=names_of(self.principal))
        return named | Q(assignees=[]) if self.principal.can("workflows:execute") else named
