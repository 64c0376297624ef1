"""Operators' page for budgets: what each has spent, period by period, and its alerts."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from apps.executions.budgets.services import is_of, start_spend, wait_for_executions
from apps.executions.models import Budget

_KEPT = ["organization", "scope", "scope_id", "period"]
_PERIODS_SHOWN = 24


class BudgetForm(forms.ModelForm):
    class Meta:
        model = Budget
        fields = [*_KEPT, "name", "limit_usd", "is_hard", "alert_at", "is_active"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        organization, scope = cleaned.get("organization"), cleaned.get("scope")
        if organization and scope and not is_of(organization.pk, scope, cleaned.get("scope_id")):
            raise ValidationError({"scope_id": "This is not the id of one of the organization's."})
        if cleaned.get("limit_usd") is not None and cleaned["limit_usd"] <= 0:
            self.add_error("limit_usd", "Must be more than 0.")
        if cleaned.get("alert_at"):
            cleaned["alert_at"] = sorted(set(cleaned["alert_at"]))
        return cleaned


@admin.register(Budget)
class BudgetAdmin(ModelAdmin):
    form = BudgetForm
    list_display = ["name", "organization", "scope", "period", "limit_usd", "spent", "reserved", "is_hard", "is_active"]
    list_filter = ["scope", "period", "is_hard", "is_active"]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name"]
    autocomplete_fields = ["organization"]
    readonly_fields = ["id", "spends", "alerts", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": [*_KEPT, "name", "limit_usd", "is_hard", "alert_at", "is_active"]}),
        ("Spending", {"fields": ["spends", "alerts"]}),
        ("Row", {"fields": ["id", "created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.with_current_spend()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(_KEPT if obj else [])]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        with transaction.atomic():
            wait_for_executions(obj.organization_id)
            super().save_model(request, obj, form, change)
            start_spend(obj)

    @admin.display(description="spent (USD)")
    def spent(self, budget: Any) -> str:
        return _plain(budget.current_spent_usd)

    @admin.display(description="reserved (USD)")
    def reserved(self, budget: Any) -> str:
        return _plain(budget.current_reserved_usd)

    @admin.display(description="by period (USD)")
    def spends(self, budget: Budget) -> SafeString:
        rows = budget.spends.order_by("-period_start")[:_PERIODS_SHOWN]
        return _table(
            ("period", "spent", "reserved"),
            [(row.period_start, _plain(row.spent_usd), _plain(row.reserved_usd)) for row in rows],
        )

    @admin.display
    def alerts(self, budget: Budget) -> SafeString:
        rows = budget.alerts.order_by("-reached_at", "-share")[:_PERIODS_SHOWN]
        return _table(
            ("period", "share", "spent", "reached", "told"),
            [(r.period_start, f"{r.share:.0%}", _plain(r.spent_usd), r.reached_at, r.announced_at) for r in rows],
        )


def _plain(amount: Decimal | None) -> str:
    return f"{(amount or Decimal(0)).normalize():f}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> SafeString:
    cells = (format_html_join("", "<td>{}</td>", (("" if cell is None else cell,) for cell in row)) for row in rows)
    titles = format_html_join("", "<th>{}</th>", ((title,) for title in head))
    body = format_html_join("", "<tr>{}</tr>", ((row,) for row in cells))
    return format_html("<table><tr>{}</tr>{}</table>", titles, body)
