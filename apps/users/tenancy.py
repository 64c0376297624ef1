"""The sealed base of every resource: rows of the caller's organization only, a permission for every action."""

from typing import Any, ClassVar, cast

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users.permissions import AUTHENTICATED, PERMISSIONS, PERSON, PUBLIC, HasPermission
from apps.users.principal import Principal
from everquant.api.conditional import etag_of, require_match
from everquant.api.views import ApiViewSet

_SEALED = {
    "authentication_classes",
    "check_object_permissions",
    "check_permissions",
    "dispatch",
    "get_object",
    "get_queryset",
    "initial",
    "initialize_request",
    "permission_classes",
    "throttle_classes",
}


class PermissionViewSet(ApiViewSet):
    """A viewset whose every action has a permission. What guards it cannot be overridden."""

    permissions: ClassVar[dict[str, str]] = {}
    permission_classes = [HasPermission]
    queryset: Any = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ != __name__:
            overridden = _SEALED & set(vars(cls))
            if overridden:
                raise TypeError(f"{cls.__name__} overrides what guards tenants: {', '.join(sorted(overridden))}")
        unknown = set(cls.permissions.values()) - set(PERMISSIONS) - {AUTHENTICATED, PERSON, PUBLIC}
        if unknown:
            raise TypeError(f"{cls.__name__} names unknown permissions: {', '.join(sorted(unknown))}")

    @property
    def principal(self) -> Principal:
        return cast("Principal", self.request.auth)


class TenantViewSet(PermissionViewSet):
    """List, create, retrieve, update and delete over rows of one organization.

    A subclass declares `queryset` (of a tenant-scoped model), `serializer_class`, `permissions` and filters, names in
    `http_method_names`/its routes what it offers, and overrides `perform_create`, `perform_update`,
    `perform_destroy` (service calls) or `refine` (joins and annotations); never the scoping.
    `object_key` is the column that the id in the path is looked up in.
    """

    object_key: ClassVar[str] = "pk"
    lookup_value_converter = "uuid"

    def refine(self, queryset: Any) -> Any:
        """Joins, annotations and narrowing for the current action."""
        return queryset

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return cast("QuerySet[Any]", self.queryset.none())
        return self.refine(self.queryset.for_organization(self.principal.organization_id))

    def get_object(self) -> Any:
        """The object in the path, or Http404. Filters of the list do not apply."""
        try:
            return self.get_queryset().get(**{self.object_key: self.kwargs["pk"]})
        except self.get_queryset().model.DoesNotExist:
            raise Http404 from None

    def get_object_for_write(self) -> Any:
        """The object, locked, once `If-Match` (if given) has matched what a read answers; needs a transaction."""
        queryset = self.get_queryset()
        try:
            instance = queryset.select_for_update(of=("self",)).get(**{self.object_key: self.kwargs["pk"]})
        except queryset.model.DoesNotExist:
            raise Http404 from None
        self.check_if_match(instance)
        return instance

    def check_if_match(self, instance: Any) -> None:
        header = self.request.META.get("HTTP_IF_MATCH")
        if header:
            require_match(header, self.etag_of_read(instance))

    @property
    def read_serializer_class(self) -> Any:
        return self.output_serializer_classes.get("retrieve", self.serializer_class)

    def etag_of_read(self, instance: Any) -> str:
        """The ETag with which a read answers this object, whatever the current action answers."""
        return etag_of(self.read_serializer_class(instance, context=self.get_serializer_context()).data)

    def perform_create(self, data: dict[str, Any]) -> Any:
        return self.queryset.model.objects.create(organization_id=self.principal.organization_id, **data)

    def perform_update(self, instance: Any, data: dict[str, Any]) -> Any:
        for name, value in data.items():
            setattr(instance, name, value)
        instance.save_fields(*data)
        return instance

    def perform_destroy(self, instance: Any) -> None:
        instance.delete()

    def location_of(self, instance: Any) -> str:
        return f"{self.request.path}/{instance.pk}"


class ListMixin:
    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.represent(page, many=True))


class RetrieveMixin:
    def retrieve(self: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return self.answer(self.get_object())


class CreateMixin:
    @transaction.atomic
    def create(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.create_one()

    def create_one(self: Any) -> Response:
        """`create` without its transaction, for what is stored in one statement."""
        instance = self.perform_create(self.validated())
        headers = {"Location": self.location_of(instance)}
        if self.get_output_serializer_class() is not self.read_serializer_class:
            headers["ETag"] = self.etag_of_read(instance)
        return self.answer(instance, status=201, headers=headers)


class PartialUpdateMixin:
    @transaction.atomic
    def partial_update(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._update(partial=True)

    def _update(self: Any, *, partial: bool) -> Response:
        instance = self.get_object_for_write()
        data = self.validated(instance=instance, partial=partial)
        return self.answer(self.perform_update(instance, data) if data else instance)


class UpdateMixin(PartialUpdateMixin):
    @transaction.atomic
    def update(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._update(partial=False)


class DestroyMixin:
    @transaction.atomic
    def destroy(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.perform_destroy(self.get_object_for_write())
        return Response(status=204)


class ResourceViewSet(ListMixin, CreateMixin, RetrieveMixin, UpdateMixin, DestroyMixin, TenantViewSet):
    """All five operations."""
