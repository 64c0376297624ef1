"""What waits for a decision: the pending ones first, and a page on which it is made."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import display

from apps.executions.admin import ReadOnlyAdmin
from apps.workflows.admin.approval_form import DecisionForm
from apps.workflows.admin.showing import STATUS_COLOURS, operator, pretty
from apps.workflows.models import Approval, ApprovalStatus
from apps.workflows.services.approvals import decide
from everquant.api.errors import ApiError

_PENDING_FIRST = Case(When(status=ApprovalStatus.PENDING, then=Value(0)), default=Value(1))


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """The page of an approval is its own: see templates/admin/workflows/approval."""

    list_display = ["name", "workflow", "organization", "state", "who", "created_at", "expires_at", "decided_by"]
    list_filter = ["status", "created_at"]
    list_select_related = ["run__workflow", "organization", "decided_by"]
    search_fields = ["title", "run__workflow__slug", "organization__name"]
    ordering = [_PENDING_FIRST, "-id"]
    sortable_by: list[str] = []
    list_per_page = 50

    @admin.display(description="title")
    def name(self, approval: Approval) -> str:
        return approval.title or approval.path

    @admin.display
    def workflow(self, approval: Approval) -> str:
        return approval.run.workflow.slug

    @display(description="status", label=STATUS_COLOURS)
    def state(self, approval: Approval) -> tuple[str, str]:
        return approval.status, approval.get_status_display()

    @admin.display(description="who decides")
    def who(self, approval: Approval) -> str:
        return ", ".join(approval.assignees) or "any editor"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        approval = _approval(object_id)
        form = None
        if request.method == "POST":
            if not self._can_decide(request):
                raise PermissionDenied
            form = DecisionForm(approval.form, request.POST)
            if _decide(request, approval, form):
                return redirect(reverse("admin:workflows_approval_changelist"))
            approval.refresh_from_db()
        elif approval.status == ApprovalStatus.PENDING and self._can_decide(request):
            form = DecisionForm(approval.form)
        return TemplateResponse(
            request,
            "admin/workflows/approval/page.html",
            {
                **self.admin_site.each_context(request),
                "title": approval.title or approval.path,
                "opts": self.opts,
                "original": approval,
                "colour": STATUS_COLOURS.get(approval.status, ""),
                "facts": _facts(approval, self.who(approval)),
                "form": form if approval.status == ApprovalStatus.PENDING else None,
                "data_json": "" if approval.data is None else pretty(approval.data),
            },
        )

    def _can_decide(self, request: HttpRequest) -> bool:
        return request.user.has_perm("workflows.change_approval")


def _approval(object_id: Any) -> Approval:
    rows = Approval.objects.select_related("run__workflow", "organization", "decided_by")
    try:
        found: Approval = rows.get(pk=UUID(str(object_id)))
    except (ValueError, Approval.DoesNotExist):
        raise Http404 from None
    return found


def _decide(request: HttpRequest, approval: Approval, form: DecisionForm) -> bool:
    decision = request.POST.get("decision", "")
    if decision not in {ApprovalStatus.APPROVED, ApprovalStatus.REJECTED} or not form.is_valid():
        return False
    is_filled_in = decision == ApprovalStatus.APPROVED or set(form.changed_data) - {"comment"}
    try:
        with transaction.atomic():
            decide(
                approval=approval,
                by=operator(request, approval.organization_id),
                decision=decision,
                data=form.given_data() if is_filled_in else None,
                comment=form.cleaned_data["comment"],
            )
    except ApiError as error:
        form.add_details(error)
        return False
    messages.success(request, f"{approval.title or approval.path}: {decision}.")
    return True


def _facts(approval: Approval, who: str) -> list[tuple[str, Any]]:
    facts = [
        ("Workflow", approval.run.workflow.slug),
        ("Organization", approval.organization.name),
        ("Node", approval.path),
        ("Who decides", who),
        ("Asked", f"{approval.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Expires", f"{approval.expires_at:%Y-%m-%d %H:%M:%S} UTC" if approval.expires_at else ""),
        ("Decided", f"{approval.decided_at:%Y-%m-%d %H:%M:%S} UTC" if approval.decided_at else ""),
        ("By", str(approval.decided_by or "")),
    ]
    return [(name, value) for name, value in facts if value]
