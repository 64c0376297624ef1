from typing import Any

import django_filters
from django.db.models import F
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users import services
from apps.users.mail import accept_url
from apps.users.models import Invitation, Membership
from apps.users.permissions import Role
from apps.users.serializers import InvitationSerializer, MemberSerializer, NewInvitationSerializer
from apps.users.tenancy import CreateMixin, DestroyMixin, ListMixin, PartialUpdateMixin, RetrieveMixin, TenantViewSet
from everquant.api.filters import TrueFalseFilter
from everquant.api.serializers import EmptySerializer


class MemberFilters(django_filters.FilterSet):
    role = django_filters.ChoiceFilter(choices=Role.choices)
    is_active = TrueFalseFilter()

    class Meta:
        model = Membership
        fields = ["role", "is_active"]


class MemberViewSet(ListMixin, RetrieveMixin, PartialUpdateMixin, DestroyMixin, TenantViewSet):
    """The members of the organization, by the user's id."""

    queryset = Membership.objects.all()
    serializer_class = MemberSerializer
    filterset_class = MemberFilters
    search_fields = ["email", "name"]
    ordering_fields = ["email", "name", "created_at"]
    object_key = "user_id"
    further_errors = {"partial_update": (409,), "destroy": (409,)}
    permissions = {
        "list": "users:manage",
        "retrieve": "users:manage",
        "partial_update": "users:manage",
        "destroy": "users:manage",
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.annotate(email=F("user__email"), name=F("user__name"), last_login_at=F("user__last_login"))

    def perform_update(self, instance: Membership, data: dict[str, Any]) -> Membership:
        services.change_member(actor=self.principal, membership=instance, **data)
        return instance

    def perform_destroy(self, instance: Membership) -> None:
        services.remove_member(membership=instance)


class InvitationFilters(django_filters.FilterSet):
    role = django_filters.ChoiceFilter(choices=Role.choices)

    class Meta:
        model = Invitation
        fields = ["role"]


class InvitationViewSet(ListMixin, CreateMixin, RetrieveMixin, DestroyMixin, TenantViewSet):
    """Open, accepted and expired invitations; a revoked one is gone."""

    queryset = Invitation.objects.all()
    serializer_class = InvitationSerializer
    output_serializer_classes = {"create": NewInvitationSerializer}
    input_serializer_classes = {"resend": EmptySerializer}
    filterset_class = InvitationFilters
    tagged_actions = TenantViewSet.tagged_actions | {"resend"}
    further_errors = {"destroy": (409,)}
    search_fields = ["email"]
    ordering_fields = ["email", "created_at", "expires_at"]
    permissions = {
        "list": "users:manage",
        "create": "users:manage",
        "retrieve": "users:manage",
        "destroy": "users:manage",
        "resend": "users:manage",
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(revoked_at__isnull=True)

    def perform_create(self, data: dict[str, Any]) -> Invitation:
        invitation = services.invite(actor=self.principal, **data)
        invitation.accept_url = accept_url()  # type: ignore[attr-defined] # shown by NewInvitationSerializer
        return invitation

    def perform_destroy(self, instance: Invitation) -> None:
        instance.revoke()

    @extend_schema(responses={200: InvitationSerializer})
    def resend(self, request: Request, pk: str) -> Response:
        """Send the letter again; it is good for another seven days."""
        self.validated()
        invitation = self.get_object()
        services.resend_invitation(actor=self.principal, invitation=invitation)
        return self.answer(invitation)
