from typing import Any

from django.urls import URLPattern, URLResolver, path

from apps.models.views import ModelViewSet, ProviderViewSet

_many: dict[str, Any] = {"get": "list", "post": "create"}
_one: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}

urlpatterns: list[URLPattern | URLResolver] = [
    path("providers", ProviderViewSet.as_view(_many), name="provider-list"),
    path("providers/<uuid:pk>", ProviderViewSet.as_view(_one), name="provider-detail"),
    path("providers/<uuid:pk>/test", ProviderViewSet.as_view({"post": "test"}), name="provider-test"),
    path("models", ModelViewSet.as_view(_many), name="model-list"),
    path("models/catalog", ModelViewSet.as_view({"get": "catalog"}), name="model-catalog"),
    path("models/<uuid:pk>", ModelViewSet.as_view(_one), name="model-detail"),
    path("models/<uuid:pk>/test", ModelViewSet.as_view({"post": "test"}), name="model-test"),
]
