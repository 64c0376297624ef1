from apps.organizations.models.organizations import (
    SLUG,
    Organization,
    SoftDeleteTenantModel,
    SoftDeleteTenantQuerySet,
    TenantModel,
    TenantQuerySet,
)
from apps.organizations.models.webhooks import (
    DeliveryStatus,
    EventType,
    SigningSecrets,
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryQuerySet,
    WebhookEndpoint,
    WebhookEndpointQuerySet,
)

__all__ = [
    "SLUG",
    "DeliveryStatus",
    "EventType",
    "Organization",
    "SigningSecrets",
    "SoftDeleteTenantModel",
    "SoftDeleteTenantQuerySet",
    "TenantModel",
    "TenantQuerySet",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryQuerySet",
    "WebhookEndpoint",
    "WebhookEndpointQuerySet",
]
