"""Operators' pages for executions and scores: to be read, never changed."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from procrastinate.contrib.django.models import ProcrastinateWorker
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeNumericFilter, TextFilter
from unfold.decorators import display

from apps.executions.budgets import admin as budgets_admin  # noqa: F401 (registers the page of budgets)
from apps.executions.models import Batch, Execution, ExecutionAttempt, Score, Status
from apps.organizations.models import Organization
from apps.prompts.models import Prompt
from everquant.api.envelope import dumps
from everquant.api.pagination import COUNT_LIMIT
from everquant.health import WORKER_SILENT_FOR

_PERIODS = {
    "hour": ("Last hour", 1),
    "day": ("Last day", 24),
    "week": ("Last 7 days", 168),
    "month": ("Last 30 days", 720),
}
_STATUS_COLOURS = {
    Status.SUCCEEDED: "success",
    Status.FAILED: "danger",
    Status.RUNNING: "info",
    Status.QUEUED: "info",
    Status.CANCELLED: "warning",
}
_ATTEMPT_COLUMNS = ("number", "provider_model", "status", "error_code", "error_message", "latency_ms", "first_token_ms")


class CappedPaginator(Paginator):
    """Counts no further than COUNT_LIMIT rows: that is as many as anybody pages through."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_LIMIT].count())


class ReadOnlyAdmin(ModelAdmin):
    show_full_result_count = False
    paginator = CappedPaginator

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PeriodFilter(admin.SimpleListFilter):
    """By the key, so that other months are not read."""

    title = "created"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in _PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        chosen = _PERIODS.get(self.value() or "")
        return queryset.created_from(timezone.now() - timedelta(hours=chosen[1])) if chosen else queryset


class PromptFilter(TextFilter):
    title = "slug of the prompt"
    parameter_name = "prompt"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        slug = self.value()
        return queryset.filter(prompt_id__in=Prompt.objects.filter(slug=slug).values("id")) if slug else queryset


def _name(model: Any, key: str, column: str) -> Subquery:
    return Subquery(model.objects.filter(id=OuterRef(key)).values(column))


def _pretty(value: Any) -> SafeString:
    text = value if isinstance(value, str) else dumps(value).decode()
    return format_html('<pre style="white-space: pre-wrap; max-height: 30em; overflow: auto">{}</pre>', text)


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = [
        "created_at",
        "prompt_version",
        "organization",
        "provider_model",
        "state",
        "tokens",
        "cost",
        "latency",
    ]
    list_filter = [PeriodFilter, "status", "source", PromptFilter, ("cost_usd", RangeNumericFilter)]
    list_filter_submit = True
    search_fields = ["id"]
    search_help_text = "The id of an execution, prompt, model, organization or user, or a unit id."
    ordering = ["-id"]
    list_per_page = 50
    sortable_by: list[str] = []
    fieldsets = [
        (None, {"fields": ["id", "organization", "prompt", "version_number", "provider_model", "model_id", "status"]}),
        ("What was said", {"fields": ["messages", "output", "tool_calls", "variables", "parameters"]}),
        ("Result", {"fields": ["finish_reason", "error_code", "error_message", "attempts"]}),
        (
            "Cost",
            {
                "fields": [
                    "input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens",
                    "output_tokens", "reasoning_tokens", "is_usage_estimated", "cost_usd", "price", "is_cached",
                    "saved_cost_usd",
                ]
            },
        ),
        (
            "Times",
            {
                "fields": [
                    "created_at", "started_at", "finished_at", "lease_expires_at", "queue_ms", "latency_ms",
                    "first_token_ms",
                ]
            },
        ),
        (
            "Background",
            {"fields": ["is_background", "batch_id", "batch_row", "retry_of_id", "cancel_requested_at"]},
        ),
        (
            "Who",
            {
                "fields": [
                    "source", "workflow_id", "workflow_run_id", "is_streamed", "created_by_id", "api_key_id", "unit_id",
                    "metadata",
                ]
            },
        ),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                organization_slug=_name(Organization, "organization_id", "slug"),
                prompt_slug=_name(Prompt, "prompt_id", "slug"),
            )
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            return queryset.filter(unit_id=term), False
        columns = ("id", "organization_id", "prompt_id", "model_id", "created_by_id", "batch_id", "workflow_run_id")
        wanted = Q()
        for column in columns:
            wanted |= Q(**{column: key})
        return queryset.filter(wanted), False

    @admin.display
    def organization(self, execution: Any) -> str:
        return str(execution.organization_slug or execution.organization_id)

    @admin.display
    def prompt(self, execution: Any) -> str:
        return str(execution.prompt_slug or execution.prompt_id or "")

    @admin.display(description="prompt")
    def prompt_version(self, execution: Any) -> str:
        return f"{self.prompt(execution)} v{execution.version_number}" if execution.version_number else ""

    @display(description="status", label=_STATUS_COLOURS)
    def state(self, execution: Execution) -> tuple[str, str]:
        return execution.status, execution.error_code or execution.get_status_display()

    @admin.display
    def tokens(self, execution: Execution) -> str:
        """In and out; a dash where the provider did not say."""
        parts = (execution.input_tokens, execution.output_tokens)
        return " → ".join("-" if part is None else str(part) for part in parts)

    @admin.display
    def cost(self, execution: Execution) -> str:
        return "unknown" if execution.cost_usd is None else f"${execution.cost_usd.normalize():f}"

    @admin.display
    def latency(self, execution: Execution) -> str:
        return "" if execution.latency_ms is None else f"{execution.latency_ms} ms"

    @admin.display
    def messages(self, execution: Execution) -> SafeString:
        return _pretty(execution.kept_payload.messages)

    @admin.display
    def output(self, execution: Execution) -> SafeString:
        return _pretty(execution.kept_payload.output or "")

    @admin.display
    def tool_calls(self, execution: Execution) -> SafeString:
        return _pretty(execution.kept_payload.tool_calls)

    @admin.display
    def variables(self, execution: Execution) -> SafeString:
        return _pretty(execution.kept_payload.variables)

    @admin.display
    def parameters(self, execution: Execution) -> SafeString:
        return _pretty(execution.kept_payload.parameters)

    @admin.display
    def attempts(self, execution: Execution) -> SafeString:
        head = format_html_join("", "<th>{}</th>", ((column,) for column in _ATTEMPT_COLUMNS))
        rows = format_html_join("", "<tr>{}</tr>", ((_cells(attempt),) for attempt in execution.attempts.all()))
        return format_html("<table><tr>{}</tr>{}</table>", head, rows)


def _cells(attempt: ExecutionAttempt) -> SafeString:
    values = (getattr(attempt, column) for column in _ATTEMPT_COLUMNS)
    return format_html_join("", "<td>{}</td>", (("" if value is None else value,) for value in values))


@admin.register(Score)
class ScoreAdmin(ReadOnlyAdmin):
    list_display = ["name", "type", "value", "source", "organization", "execution_id", "created_by", "created_at"]
    list_filter = ["type", "source"]
    list_select_related = ["organization", "created_by"]
    search_fields = ["name"]
    ordering = ["-id"]
    fields = [
        "id",
        "organization",
        "execution_id",
        "name",
        "type",
        "value",
        "comment",
        "source",
        "created_by",
        "created_at",
    ]


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "name", "organization", "row_count", "progress", "cost", "finished_at"]
    list_filter = [("finished_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization"]
    search_fields = ["id", "name"]
    ordering = ["-id"]
    fields = [
        "id", "organization", "name", "prompt_id", "version_number", "model_id", "row_count", "progress", "cost",
        "retry_of_id", "created_by_id", "api_key_id", "created_at", "cancel_requested_at", "finished_at",
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).with_counts()

    @admin.display
    def progress(self, batch: Batch) -> str:
        return ", ".join(f"{count} {name}" for name, count in batch.counts.items() if count)

    @admin.display
    def cost(self, batch: Any) -> str:
        return f"${batch.cost_usd.normalize():f}"


class WorkerAdmin(ReadOnlyAdmin):
    """Signs of life of worker processes."""

    list_display = ["id", "last_heartbeat", "is_alive"]
    ordering = ["-last_heartbeat"]

    @admin.display(boolean=True)
    def is_alive(self, worker: Any) -> bool:
        return bool(worker.last_heartbeat > timezone.now() - WORKER_SILENT_FOR)


admin.site.register(ProcrastinateWorker, WorkerAdmin)
