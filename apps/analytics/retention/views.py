from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics.retention.serializers import RetentionInputSerializer, RetentionSerializer
from apps.analytics.retention.services import lock_policy, policy_of, set_policy
from apps.users.tenancy import PermissionViewSet
from everquant.api.conditional import etag_of, require_match


class RetentionViewSet(PermissionViewSet):
    """How long the organization keeps what was said, and what was executed."""

    serializer_class = RetentionSerializer
    permissions = {"retrieve": "organization:manage", "update": "organization:manage"}
    input_serializer_classes = {"update": RetentionInputSerializer}

    def retrieve(self, request: Request) -> Response:
        """Read the retention policy. Without one everything is kept."""
        return self.answer(policy_of(self.principal.organization_id))

    @transaction.atomic
    def update(self, request: Request) -> Response:
        """Set the retention policy. What is due is deleted within a day, and does not come back."""
        policy = lock_policy(self.principal.organization_id)
        header = request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(self.represent(policy)))
        return self.answer(set_policy(policy=policy, **self.validated()))
