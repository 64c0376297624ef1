from django.urls import URLPattern, URLResolver, path

from apps.analytics.queries.views import AnalyticsViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path(f"analytics/{action}", AnalyticsViewSet.as_view({"get": action}), name=f"analytics-{action}")
    for action in AnalyticsViewSet.permissions
]
