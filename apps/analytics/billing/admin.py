"""Operators' page of statements, each with all that it says."""

from django.contrib import admin
from django.utils.safestring import SafeString

from apps.analytics.billing.statements import rounded
from apps.analytics.models import Statement
from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.showing import pretty


@admin.register(Statement)
class StatementAdmin(ReadOnlyAdmin):
    list_display = ["period", "organization", "revision", "total", "change", "created_at"]
    list_filter = ["month"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "organization__slug", "sha256"]
    ordering = ["-month", "organization__slug", "-revision"]
    fields = ["id", "organization", "period", "revision", "total", "change", "sha256", "created_at", "whole"]

    @admin.display(description="month", ordering="month")
    def period(self, statement: Statement) -> str:
        return f"{statement.month:%Y-%m}"

    @admin.display(description="total (USD)", ordering="total_usd")
    def total(self, statement: Statement) -> str:
        return rounded(statement.total_usd) or ""

    @admin.display(description="more than the one before (USD)")
    def change(self, statement: Statement) -> str:
        return "" if statement.difference_usd is None else f"{statement.difference_usd.normalize():f}"

    @admin.display(description="content")
    def whole(self, statement: Statement) -> SafeString:
        return pretty(statement.content)
