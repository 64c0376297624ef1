"""Evaluations: how far they are, what they came to by subject and metric, and what failed first."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.contrib.filters.admin import RangeNumericFilter
from unfold.decorators import display

from apps.evaluations.models import CaseStatus, Evaluation, EvaluationCase, EvaluationScore, EvaluationStatus
from apps.evaluations.runs.representation import estimated_end, planned, share_done, with_parts
from apps.evaluations.runs.summarizing import summarize
from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.showing import dollars, duration, span

MOST_FAILURES = 20
COLOURS = {
    EvaluationStatus.QUEUED: "info",
    EvaluationStatus.RUNNING: "info",
    EvaluationStatus.SUCCEEDED: "success",
    EvaluationStatus.FAILED: "danger",
    EvaluationStatus.CANCELLED: "warning",
}


@admin.register(Evaluation)
class EvaluationAdmin(ReadOnlyAdmin):
    """The page of an evaluation is its own: see templates/admin/evaluations/evaluation."""

    list_display = ["created_at", "title", "dataset", "organization", "state", "progress", "cost", "took"]
    list_display_links = ["created_at", "title"]
    list_filter = ["status", "created_at", ("cost_usd", RangeNumericFilter)]
    list_filter_submit = True
    search_fields = ["id"]
    search_help_text = "The id of an evaluation or organization, the slug of a dataset, or words of the name."
    ordering = ["-id"]
    list_per_page = 50
    sortable_by: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).filter(deleted_at__isnull=True)
        return rows.select_related("organization", "dataset_version__dataset").prefetch_related("subjects")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            return queryset.filter(Q(name__icontains=term) | Q(dataset_version__dataset__slug=term)), False
        return queryset.filter(Q(id=key) | Q(organization=key)), False

    @admin.display(description="name")
    def title(self, evaluation: Evaluation) -> str:
        return evaluation.name or ", ".join(subject.name for subject in evaluation.subjects.all())

    @admin.display
    def dataset(self, evaluation: Evaluation) -> str:
        version = evaluation.dataset_version
        return f"{version.dataset.slug}, version {version.version_number}"

    @display(description="status", label=COLOURS)
    def state(self, evaluation: Evaluation) -> tuple[str, str]:
        return evaluation.status, evaluation.error_code or evaluation.get_status_display()

    @admin.display
    def progress(self, evaluation: Evaluation) -> str:
        return f"{share_done(evaluation):.0%} of {planned(evaluation)[1]:,}"

    @admin.display
    def cost(self, evaluation: Evaluation) -> str:
        return dollars(evaluation.cost_usd + evaluation.evaluator_cost_usd)

    @admin.display
    def took(self, evaluation: Evaluation) -> str:
        return duration(span(evaluation.started_at, evaluation.finished_at))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET" or not self.has_view_permission(request):
            raise PermissionDenied
        evaluation = _evaluation(object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": evaluation.name or "Evaluation",
            "subtitle": str(evaluation.pk),
            "opts": self.opts,
            "original": evaluation,
            "colour": COLOURS[EvaluationStatus(evaluation.status)],
            "percent": round(100 * share_done(evaluation)),
            "facts": _facts(evaluation),
            "summary": summarize(evaluation),
            "metrics": [metric.name for metric in evaluation.metrics.all()],
            "failures": _failures(evaluation),
            "errors": _score_errors(evaluation),
        }
        return TemplateResponse(request, "admin/evaluations/evaluation/page.html", context)


def _evaluation(object_id: str) -> Evaluation:
    rows = with_parts(Evaluation.objects.filter(deleted_at__isnull=True).select_related("organization"))
    try:
        found: Evaluation = rows.get(pk=UUID(str(object_id)))
    except (ValueError, Evaluation.DoesNotExist):
        raise Http404 from None
    return found


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    items, cases = planned(evaluation)
    ends_at = estimated_end(evaluation)
    version = evaluation.dataset_version
    facts = [
        ("Organization", evaluation.organization.name),
        ("Dataset", f"{version.dataset.slug}, version {version.version_number}"),
        ("Split", evaluation.split),
        ("Items", f"{items:,}"),
        ("Repeats", str(evaluation.repeats)),
        ("Cases", f"{evaluation.succeeded_count:,} succeeded, {evaluation.failed_count:,} failed, of {cases:,}"),
        ("Scores", f"{evaluation.score_count:,}, and {evaluation.score_error_count:,} errors"),
        ("Cost", dollars(evaluation.cost_usd)),
        ("Cost of evaluators", dollars(evaluation.evaluator_cost_usd)),
        ("Budget", dollars(evaluation.budget_usd)),
        ("Queued", f"{evaluation.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Took", duration(span(evaluation.started_at, evaluation.finished_at))),
        ("Ends about", f"{ends_at:%Y-%m-%d %H:%M:%S} UTC" if ends_at else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _failures(evaluation: Evaluation) -> list[tuple[str, EvaluationCase]]:
    """The first, each with its subject's name."""
    names = {subject.position: subject.name for subject in evaluation.subjects.all()}
    failed = evaluation.cases.filter(status=CaseStatus.FAILED).order_by("id").select_related("item").defer("output")
    return [(names[case.subject], case) for case in failed[:MOST_FAILURES]]


def _score_errors(evaluation: Evaluation) -> list[tuple[str, EvaluationScore]]:
    """The first, each with its metric's name."""
    names = {metric.position: metric.name for metric in evaluation.metrics.all()}
    cases = Prefetch("case", EvaluationCase.objects.select_related("item").defer("output"))
    erred = evaluation.scores.exclude(error_code="").order_by("case_id", "metric").defer("details")
    return [(names[score.metric], score) for score in erred.prefetch_related(cases)[:MOST_FAILURES]]
