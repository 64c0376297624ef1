from django.urls import URLPattern, URLResolver, path

from apps.analytics.alerts.views import AlertEventViewSet, AlertViewSet

_ALERT = "alerts/<uuid:pk>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("alerts", AlertViewSet.as_view({"get": "list", "post": "create"}), name="alert-list"),
    path(
        _ALERT,
        AlertViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="alert-detail",
    ),
    *(
        path(f"{_ALERT}/{action}", AlertViewSet.as_view({"post": action}), name=f"alert-{action}")
        for action in ("mute", "unmute", "test")
    ),
    path(f"{_ALERT}/current", AlertViewSet.as_view({"get": "current"}), name="alert-current"),
    path(f"{_ALERT}/events", AlertEventViewSet.as_view({"get": "list"}), name="alert-events"),
]
