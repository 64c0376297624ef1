from datetime import date

from django.urls import URLPattern, URLResolver, path, register_converter

from apps.analytics.billing.views import StatementViewSet, UsageViewSet


class MonthConverter:
    """`2026-11` ↔ its first day."""

    regex = "(?:19[7-9][0-9]|2[01][0-9]{2})-(?:0[1-9]|1[0-2])"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(f"{value}-01")

    def to_url(self, value: date) -> str:
        return f"{value:%Y-%m}"


register_converter(MonthConverter, "month")

urlpatterns: list[URLPattern | URLResolver] = [
    path("billing/usage", UsageViewSet.as_view({"get": "usage"}), name="usage"),
    path("billing/statements", StatementViewSet.as_view({"get": "list"}), name="statement-list"),
    path("billing/statements/<month:month>", StatementViewSet.as_view({"get": "retrieve"}), name="statement-detail"),
]
