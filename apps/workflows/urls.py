from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("apps.workflows.schedules.urls")),
    path("", include("apps.workflows.triggers.urls")),
]
