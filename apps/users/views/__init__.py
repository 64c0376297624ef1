from apps.users.views.auth import AuthViewSet
from apps.users.views.keys import ApiKeyViewSet
from apps.users.views.members import InvitationViewSet, MemberViewSet
from apps.users.views.organizations import AuditEntryViewSet, CurrentOrganizationViewSet, RoleViewSet
from apps.users.views.webhooks import WebhookDeliveryViewSet, WebhookViewSet

__all__ = [
    "ApiKeyViewSet",
    "AuditEntryViewSet",
    "AuthViewSet",
    "CurrentOrganizationViewSet",
    "InvitationViewSet",
    "MemberViewSet",
    "RoleViewSet",
    "WebhookDeliveryViewSet",
    "WebhookViewSet",
]
