from django.urls import URLPattern, URLResolver, path

from apps.analytics.retention.views import RetentionViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("retention", RetentionViewSet.as_view({"get": "retrieve", "put": "update"}), name="retention"),
]
