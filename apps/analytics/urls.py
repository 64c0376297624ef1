from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("apps.analytics.alerts.urls")),
    path("", include("apps.analytics.billing.urls")),
    path("", include("apps.analytics.queries.urls")),
    path("", include("apps.analytics.retention.urls")),
]
