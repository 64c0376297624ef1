"""Agreements of judges as operators see them: what was measured stays."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from apps.evaluations.models import JudgeAgreement
from apps.executions.admin import ReadOnlyAdmin


@admin.register(JudgeAgreement)
class JudgeAgreementAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "judge", "organization", "kappa_and_interval", "is_enough", "n", "n_missing"]
    list_filter = ["weighting", "created_at"]
    search_fields = ["evaluator_version__evaluator__slug", "evaluator_version__evaluator__name"]
    search_help_text = "The slug or name of a judge."
    ordering = ["-created_at", "-id"]
    fields = [
        "organization", "judge", "provider_model", "evaluation", "subject", "label", "kappa_and_interval", "is_enough",
        "weighting", "threshold", "n", "n_missing", "n_unlabelled", "table", "created_by", "created_at",
    ]  # fmt: skip
    readonly_fields = ["judge", "kappa_and_interval", "is_enough", "table"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("organization", "evaluator_version__evaluator")

    @admin.display(description="judge")
    def judge(self, agreement: JudgeAgreement) -> str:
        return f"{agreement.evaluator_version.evaluator.slug}, {agreement.evaluator_version}"

    @admin.display(description="kappa (95 % interval)", ordering="kappa")
    def kappa_and_interval(self, agreement: JudgeAgreement) -> str:
        return f"{agreement.kappa:.2f} ({agreement.ci_low:.2f} to {agreement.ci_high:.2f})"

    @display(description="reaches its threshold", boolean=True)
    def is_enough(self, agreement: JudgeAgreement) -> bool:
        return agreement.reaches_threshold

    @admin.display(description="people's labels by the judge's")
    def table(self, agreement: JudgeAgreement) -> SafeString:
        head = format_html_join(
            "", '<th class="px-3 py-1 text-right">{}</th>', ((name,) for name in agreement.categories)
        )
        rows = format_html_join(
            "",
            '<tr><th class="px-3 py-1 text-left">{}</th>{}</tr>',
            (
                (name, format_html_join("", '<td class="px-3 py-1 text-right">{}</td>', ((count,) for count in counts)))
                for name, counts in zip(agreement.categories, agreement.confusion, strict=True)
            ),
        )
        return format_html("<table><thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table>", head, rows)
