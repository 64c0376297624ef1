from typing import Any

import django_filters
from auditlog.registry import auditlog
from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat
from drf_spectacular.utils import extend_schema_field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.organizations.models import Organization
from apps.organizations.serializers import OrganizationSerializer
from apps.users.models import AuditEntry
from apps.users.permissions import AUTHENTICATED, PERMISSIONS, ROLE_PERMISSIONS
from apps.users.serializers import ACTIONS, AuditEntrySerializer, RoleTableSerializer
from apps.users.services.members import lock_organization
from apps.users.tenancy import ListMixin, PermissionViewSet, RetrieveMixin, TenantViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.filters import TimeFilter
from everquant.api.pagination import KeysetPagination


class CurrentOrganizationViewSet(PermissionViewSet):
    """The organization that the caller is signed in to."""

    serializer_class = OrganizationSerializer
    permissions = {"retrieve": AUTHENTICATED, "partial_update": "organization:manage"}

    def retrieve(self, request: Request) -> Response:
        """The organization that the caller is signed in to."""
        return self.answer(Organization.objects.get(id=self.principal.organization_id))

    @transaction.atomic
    def partial_update(self, request: Request) -> Response:
        """Change the organization that the caller is signed in to."""
        organization = lock_organization(self.principal.organization_id)
        header = request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(self.represent(organization)))
        data = self.validated(instance=organization, partial=True)
        for name, value in data.items():
            setattr(organization, name, value)
        if data:
            organization.save_fields(*data)
        return self.answer(organization)


class RoleViewSet(PermissionViewSet):
    """Which role may do what."""

    serializer_class = RoleTableSerializer
    permissions = {"retrieve": AUTHENTICATED}

    def retrieve(self, request: Request) -> Response:
        """Which role may do what."""
        roles = [{"role": role, "permissions": sorted(granted)} for role, granted in ROLE_PERMISSIONS.items()]
        return self.answer({"roles": roles, "permissions": list(PERMISSIONS)})


OBJECT_TYPES = sorted(model._meta.label_lower for model in auditlog.get_models())


class AuditEntryFilters(django_filters.FilterSet):
    actor_id = django_filters.UUIDFilter()
    api_key_id = django_filters.UUIDFilter()
    action = django_filters.ChoiceFilter(choices=[(name, name) for name in ACTIONS], method="of_action")
    object_type = extend_schema_field({"type": "string", "enum": OBJECT_TYPES})(
        django_filters.ChoiceFilter(choices=[(name, name) for name in OBJECT_TYPES])
    )
    object_id = django_filters.UUIDFilter(field_name="object_pk")
    request_id = django_filters.CharFilter(field_name="cid", max_length=64)
    created_after = TimeFilter(field_name="timestamp", lookup_expr="gte")
    created_before = TimeFilter(field_name="timestamp", lookup_expr="lt")

    class Meta:
        model = AuditEntry
        fields: list[str] = []

    @extend_schema_field({"type": "string", "enum": list(ACTIONS)})
    def of_action(self, queryset: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        return queryset.filter(action=ACTIONS[value])


class AuditEntryViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    """Who changed what, newest first."""

    queryset = AuditEntry.objects.all()
    serializer_class = AuditEntrySerializer
    filterset_class = AuditEntryFilters
    pagination_class = KeysetPagination
    permissions = {"list": "audit:read", "retrieve": "audit:read"}

    def refine(self, queryset: Any) -> Any:
        object_type = Concat(F("content_type__app_label"), Value("."), F("content_type__model"))
        return queryset.annotate(object_type=object_type)
