"""Gates as operators see them: what was said stays."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.evaluations.models import GateResult, Verdict
from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.showing import pretty

_COLOURS = {Verdict.PASS: "success", Verdict.FAIL: "danger", Verdict.INCONCLUSIVE: "warning"}


@admin.register(GateResult)
class GateResultAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "evaluation", "organization", "said", "candidate", "baseline"]
    list_filter = ["verdict", "created_at"]
    list_select_related = ["evaluation", "organization"]
    search_fields = ["id"]
    search_help_text = "The id of a gate or an evaluation."
    ordering = ["-id"]
    fields = [
        "organization", "evaluation", "candidate", "against", "baseline", "said", "rulings",
        "evaluation_finished_at", "against_finished_at", "created_by_id", "api_key_id", "created_at",
    ]  # fmt: skip
    readonly_fields = ["said", "rulings"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("rules")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            return queryset.none(), False
        return queryset.filter(id=key) | queryset.filter(evaluation=key), False

    @display(description="verdict", label=_COLOURS)
    def said(self, result: GateResult) -> tuple[str, str]:
        return result.verdict, result.get_verdict_display()

    @admin.display(description="rules")
    def rulings(self, result: GateResult) -> SafeString:
        return pretty(result.report)
