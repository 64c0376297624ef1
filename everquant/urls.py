"""Every URL of the product. Each app adds its own resources under /api/v1."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

from everquant.health import healthz, metrics, readyz

# matched in this order: what is read most comes first
API_APPS = ["prompts", "executions", "workflows", "evaluations", "analytics", "models", "users"]

urlpatterns = [
    path("api/v1/", include("apps.executions.slug_urls")),
    *(path("api/v1/", include(f"apps.{app}.urls")) for app in API_APPS),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/redoc", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
]

handler500 = "everquant.middleware.server_error"
