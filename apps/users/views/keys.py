from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users import services
from apps.users.models import ApiKey
from apps.users.serializers import (
    ApiKeyInputSerializer,
    ApiKeyRotationSerializer,
    ApiKeySerializer,
    NewApiKeySerializer,
)
from apps.users.tenancy import (
    CreateMixin,
    DestroyMixin,
    ListMixin,
    PartialUpdateMixin,
    RetrieveMixin,
    TenantViewSet,
)

_MANAGE = "apikeys:manage"


class ApiKeyViewSet(ListMixin, CreateMixin, RetrieveMixin, PartialUpdateMixin, DestroyMixin, TenantViewSet):
    """Keys for programs: one's own, or with users:manage those of the whole organization. A revoked one is gone."""

    queryset = ApiKey.objects.all()
    serializer_class = ApiKeySerializer
    input_serializer_classes = {"create": ApiKeyInputSerializer, "rotate": ApiKeyRotationSerializer}
    output_serializer_classes = {"create": NewApiKeySerializer, "rotate": NewApiKeySerializer}
    tagged_actions = TenantViewSet.tagged_actions | {"rotate"}
    guarded_actions = TenantViewSet.guarded_actions | {"rotate"}
    search_fields = ["name"]
    ordering_fields = ["name", "created_at", "expires_at", "last_used_at"]
    permissions = {
        "list": _MANAGE,
        "create": _MANAGE,
        "retrieve": _MANAGE,
        "partial_update": _MANAGE,
        "destroy": _MANAGE,
        "rotate": _MANAGE,
    }

    def refine(self, queryset: Any) -> Any:
        mine = {} if self.principal.can("users:manage") else {"user_id": self.principal.user_id}
        return queryset.unrevoked().filter(**mine)

    def perform_create(self, data: dict[str, Any]) -> ApiKey:
        return _with_secret(*services.create_api_key(actor=self.principal, **data))

    def perform_destroy(self, instance: ApiKey) -> None:
        instance.revoke(timezone.now())

    @extend_schema(responses={201: NewApiKeySerializer})
    @transaction.atomic
    def rotate(self, request: Request, pk: str) -> Response:
        """A new secret under a new id; the old one still works for `overlap_s` seconds."""
        old = self.get_object_for_write()
        issued = _with_secret(*services.rotate_api_key(actor=self.principal, api_key=old, **self.validated()))
        location = f"{request.path.rsplit('/', 2)[0]}/{issued.pk}"
        return self.answer(issued, status=201, headers={"Location": location, "ETag": self.etag_of_read(issued)})


def _with_secret(key: ApiKey, secret: str) -> ApiKey:
    key.secret = secret  # type: ignore[attr-defined] # shown by NewApiKeySerializer
    return key
