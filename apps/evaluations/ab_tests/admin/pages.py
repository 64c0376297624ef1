"""A/B tests: which there are and what traffic they have; what each came to; and what may be done with it."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import display

from apps.evaluations.ab_tests.admin.actions import ACTIONS, Action, possible_actions
from apps.evaluations.ab_tests.admin.figures import SPACE, percent
from apps.evaluations.ab_tests.admin.forms import ConfirmationForm
from apps.evaluations.ab_tests.admin.results_page import COLOURS, DAY, shown, units_a_day
from apps.evaluations.ab_tests.results import results_of
from apps.evaluations.models import ABArm, ABIncident, ABObservation, ABPoint
from apps.executions.admin import ReadOnlyAdmin
from apps.prompts.models import ABTest, ABTestStatus
from apps.workflows.admin.showing import operator
from everquant.api.errors import ApiError


@admin.register(ABTest)
class ABTestAdmin(ReadOnlyAdmin):
    """The page of a test is its own; tests are made and changed through the API, which checks them."""

    list_display = ["name", "prompt", "organization", "state", "units", "exposures", "share", "rate", "started"]
    list_filter = ["status", "mode", "started_at"]
    search_fields = ["id"]
    search_help_text = "The id of a test or organization, the slug of a prompt, or words of the name."
    ordering = ["-id"]
    list_per_page = 50
    sortable_by: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).filter(deleted_at__isnull=True).defer("final_results")
        arms = ABArm.objects.filter(test=OuterRef("pk")).order_by().values("test")
        points = ABPoint.objects.filter(test=OuterRef("pk"), taken_at__lte=timezone.now() - DAY).order_by("-taken_at")
        return rows.select_related("organization", "prompt").annotate(
            units_seen=Subquery(arms.annotate(total=Sum("units")).values("total")),
            exposures_seen=Subquery(arms.annotate(total=Sum("exposures")).values("total")),
            day_ago_at=Subquery(points.values("taken_at")[:1]),
            day_ago_units=Subquery(points.values("units")[:1]),
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
            return queryset.filter(Q(name__icontains=term) | Q(prompt__slug=term)), False
        return queryset.filter(Q(id=key) | Q(organization=key) | Q(prompt=key)), False

    @display(description="status", label=COLOURS)
    def state(self, test: ABTest) -> tuple[str, str]:
        return test.status, test.get_status_display()

    @admin.display
    def units(self, test: Any) -> str:
        return f"{test.units_seen or 0:,}"

    @admin.display
    def exposures(self, test: Any) -> str:
        return f"{test.exposures_seen or 0:,}"

    @admin.display(description="share of traffic", empty_value="")
    def share(self, test: ABTest) -> str | None:
        return percent(test.exposed_share) if test.is_live else None

    @admin.display(description="units a day", empty_value="")
    def rate(self, test: Any) -> str | None:
        """New units a day, as of the last day."""
        if test.status != ABTestStatus.RUNNING:
            return None
        since = (test.day_ago_at, test.day_ago_units) if test.day_ago_at else (test.started_at, 0)
        return f"{units_a_day(test.units_seen or 0, *since):,.0f}"

    @admin.display(empty_value="")
    def started(self, test: ABTest) -> str | None:
        at = test.started_at
        return f"{at.day}{SPACE}{at:%b}{SPACE}{at:%Y %H:%M}" if at else None

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act_view)
        own = [path(f"<uuid:test_id>/{name}/", act, {"name": name}, name=f"prompts_abtest_{name}") for name in ACTIONS]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        test = self._test(request, object_id)
        actions = possible_actions(test) if self._can_act(request) else []
        return self._page(
            request, test, "page.html", actions=actions, **shown(test, test.final_results or results_of(test))
        )

    def act_view(self, request: HttpRequest, test_id: UUID, name: str) -> HttpResponse:
        """The form that asks once more, and what it does."""
        test, action = self._test(request, test_id), ACTIONS[name]
        if not self._can_act(request):
            raise PermissionDenied
        form = action.form(test, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid() and self._act(request, test, action, form):
            return redirect(reverse("admin:prompts_abtest_change", args=[test.pk]))
        return self._page(request, test, "confirm.html", action=action, form=form, is_possible=action.is_possible(test))

    def _act(self, request: HttpRequest, test: ABTest, action: Action, form: ConfirmationForm) -> bool:
        try:
            with transaction.atomic():
                action.perform(test, operator(request, test.organization_id), form.cleaned_data)
        except ApiError as error:
            form.add_refusal(error)
            test.refresh_from_db()
            return False
        messages.success(request, f"{test.name}: {action.done}.")
        return True

    def _page(self, request: HttpRequest, test: ABTest, template: str, **context: Any) -> TemplateResponse:
        whole = {
            **self.admin_site.each_context(request),
            "title": test.name,
            "subtitle": str(test.pk),
            "opts": self.opts,
            "original": test,
            "colour": COLOURS[test.status],
            **context,
        }
        return TemplateResponse(request, f"admin/evaluations/ab_test/{template}", whole)

    def _can_act(self, request: HttpRequest) -> bool:
        return request.user.has_perm("prompts.change_abtest")

    def _test(self, request: HttpRequest, test_id: Any) -> ABTest:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = ABTest.objects.alive().select_related("organization", "prompt", "created_by")
        try:
            found: ABTest = rows.prefetch_related("variants__version", "variants__model").get(pk=UUID(str(test_id)))
        except (ValueError, ABTest.DoesNotExist):
            raise Http404 from None
        return found


@admin.register(ABIncident)
class ABIncidentAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "test", "organization", "kind", "variant", "message"]
    list_filter = ["kind", "created_at"]
    list_select_related = ["test", "organization"]
    search_fields = ["test__name", "variant", "message"]
    ordering = ["-id"]
    exclude = ["updated_at"]


@admin.register(ABObservation)
class ABObservationAdmin(ReadOnlyAdmin):
    """What programs told that call models themselves."""

    list_display = ["created_at", "test", "organization", "unit_id", "variant", "phase", "is_exposure", "values"]
    list_filter = ["is_exposure", "created_at"]
    list_select_related = ["test", "organization"]
    search_fields = ["unit_id"]
    ordering = ["-id"]
    exclude = ["updated_at"]
