from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("apps.evaluations.ab_tests.urls")),
    path("", include("apps.evaluations.annotation.urls")),
    path("", include("apps.evaluations.comparing.urls")),
    path("", include("apps.evaluations.datasets.urls")),
    path("", include("apps.evaluations.judging.urls")),
    path("", include("apps.evaluations.promotion.urls")),
    path("", include("apps.evaluations.runs.urls")),
    path("", include("apps.evaluations.scoring.urls")),
]
