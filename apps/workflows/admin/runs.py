"""Runs: what each node of them did, while they run and after."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.contrib.filters.admin import RangeNumericFilter
from unfold.decorators import display

from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.run_page import live_part, retry_choices, step_of
from apps.workflows.admin.showing import STATUS_COLOURS, dollars, duration, operator, pretty, span
from apps.workflows.engine.again import retry_from
from apps.workflows.engine.ending import request_cancel
from apps.workflows.models import WorkflowRun
from everquant.api.errors import ApiError


@admin.register(WorkflowRun)
class WorkflowRunAdmin(ReadOnlyAdmin):
    """The page of a run is its own: see templates/admin/workflows/workflowrun."""

    list_display = ["created_at", "workflow", "version_number", "organization", "state", "source", "cost", "took"]
    list_display_links = ["created_at"]
    list_filter = ["status", "source", "created_at", ("cost_usd", RangeNumericFilter)]
    list_filter_submit = True
    list_select_related = ["workflow", "organization"]
    search_fields = ["id"]
    search_help_text = "The id of a run, workflow or organization, or the slug of a workflow."
    ordering = ["-id"]
    list_per_page = 50
    sortable_by: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("inputs", "outputs", "metadata")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            return queryset.filter(workflow__slug=term), False
        return queryset.filter(id=key) | queryset.filter(workflow=key) | queryset.filter(organization=key), False

    @display(description="status", label=STATUS_COLOURS)
    def state(self, run: WorkflowRun) -> tuple[str, str]:
        return run.status, run.error_code or run.get_status_display()

    @admin.display
    def cost(self, run: WorkflowRun) -> str:
        return dollars(run.cost_usd)

    @admin.display
    def took(self, run: WorkflowRun) -> str:
        return duration(span(run.queued_at, run.finished_at))

    def get_urls(self) -> list[URLPattern]:
        own = [
            ("<uuid:run_id>/state/", self.state_view, "state"),
            ("<uuid:run_id>/live/", self.live_view, "live"),
            ("<uuid:run_id>/steps/<int:step_id>/", self.step_view, "step"),
            ("<uuid:run_id>/cancel/", self.cancel_view, "cancel"),
            ("<uuid:run_id>/retry/", self.retry_view, "retry"),
        ]
        wrap = self.admin_site.admin_view
        return [
            *(path(route, wrap(view), name=f"workflows_workflowrun_{name}") for route, view, name in own),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        run = self._run(request, object_id)
        return TemplateResponse(
            request,
            "admin/workflows/workflowrun/page.html",
            {
                **self.admin_site.each_context(request),
                **live_part(run, request.GET),
                "title": f"{run.workflow.slug}, version {run.version_number}",
                "subtitle": str(run.pk),
                "opts": self.opts,
                "original": run,
                "can_act": self._can_act(request),
                "retry_choices": retry_choices(run) if run.is_finished else [],
                "inputs_json": pretty(run.inputs),
                "query": urlencode(
                    {name: request.GET[name] for name in ("page", "place", "status") if name in request.GET}
                ),
            },
        )

    def state_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """How far it is: pages read the rest anew when `last_event` has grown."""
        run = self._run(request, run_id)
        return JsonResponse({"status": run.status, "last_event": run.last_event, "is_finished": run.is_finished})

    def live_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        run = self._run(request, run_id)
        context = {**live_part(run, request.GET), "original": run}
        return HttpResponse(render_to_string("admin/workflows/workflowrun/live.html", context, request))

    def step_view(self, request: HttpRequest, run_id: UUID, step_id: int) -> HttpResponse:
        """Input, output and error of one attempt, which are too large to be in the page."""
        context = {"step": step_of(self._run(request, run_id), step_id)}
        return HttpResponse(render_to_string("admin/workflows/workflowrun/step.html", context, request))

    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        return self._act(request, run_id, lambda run: request_cancel(run=run), "The run is being cancelled.")

    def retry_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        def retry(run: WorkflowRun) -> WorkflowRun:
            by = operator(request, run.organization_id)
            return retry_from(run=run, by=by, node_id=request.POST.get("from") or None)

        return self._act(request, run_id, retry, "This is the new run.")

    def _act(self, request: HttpRequest, run_id: UUID, act: Any, done: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run = self._run(request, run_id)
        if not self._can_act(request):
            raise PermissionDenied
        try:
            with transaction.atomic():
                run = act(run)
            messages.success(request, done)
        except ApiError as error:
            messages.error(request, error.message)
        return redirect(reverse("admin:workflows_workflowrun_change", args=[run.pk]))

    def _can_act(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workflows.change_workflowrun")

    def _run(self, request: HttpRequest, run_id: Any) -> WorkflowRun:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = WorkflowRun.objects.select_related("workflow", "organization", "version", "origin")
        try:
            run: WorkflowRun = rows.get(pk=UUID(str(run_id)))
        except (ValueError, WorkflowRun.DoesNotExist):
            raise Http404 from None
        return run
