"""Policies, what versions still need, and a page on which they are approved."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from rest_framework.exceptions import APIException

from apps.evaluations.models import Decision, PromotionApproval, PromotionPolicy
from apps.evaluations.promotion.approvals import decide
from apps.evaluations.promotion.requirements import requirements
from apps.evaluations.promotion.targets import current_version
from apps.executions.admin import ReadOnlyAdmin
from apps.prompts.serializers import MAX_VERSION
from apps.workflows.admin.showing import operator, pretty
from everquant.api.errors import ApiError
from everquant.api.parsers import check_json

NEWEST_SHOWN = 10
_STYLE = {"class": "wf-input"}


class DecisionForm(forms.Form):
    version = forms.IntegerField(min_value=1, max_value=MAX_VERSION, widget=forms.NumberInput(_STYLE))
    comment = forms.CharField(required=False, max_length=2000, widget=forms.Textarea({**_STYLE, "rows": 3}))

    def clean_comment(self) -> str:
        said = str(self.cleaned_data["comment"])
        try:
            check_json(said)
        except APIException as error:
            raise forms.ValidationError("This cannot be stored.") from error
        return said


@admin.register(PromotionPolicy)
class PromotionPolicyAdmin(ReadOnlyAdmin):
    """The page of a policy is its own; policies are made and changed through the API, which checks them."""

    list_display = ["label", "target_slug", "organization", "dataset_version", "min_approvals", "revision", "state"]
    list_filter = ["is_active", "created_at"]
    list_select_related = ["prompt", "workflow", "organization", "dataset_version"]
    search_fields = ["label", "prompt__slug", "workflow__slug", "organization__name"]
    ordering = ["-id"]

    @admin.display(description="prompt or workflow")
    def target_slug(self, policy: PromotionPolicy) -> str:
        return policy.target.slug

    @admin.display(boolean=True, description="in force")
    def state(self, policy: PromotionPolicy) -> bool:
        return policy.is_active and not policy.is_deleted

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        policy = _policy(object_id)
        may_decide = request.user.has_perm("evaluations.add_promotionapproval") and not policy.is_deleted
        form = DecisionForm(request.POST or None) if may_decide else None
        if request.method == "POST":
            if form is None:
                raise PermissionDenied
            if form.is_valid() and _decide(request, policy, form):
                return redirect(request.path)
        return TemplateResponse(
            request,
            "admin/evaluations/promotion/page.html",
            {
                **self.admin_site.each_context(request),
                "title": str(policy),
                "opts": self.opts,
                "original": policy,
                "facts": _facts(policy),
                "rules": pretty(policy.rules),
                "versions": _versions(policy, request.user.pk),
                "approvals_url": reverse("admin:evaluations_promotionapproval_changelist")
                + f"?policy__id__exact={policy.pk}",
                "form": form,
            },
        )


@admin.register(PromotionApproval)
class PromotionApprovalAdmin(ReadOnlyAdmin):
    list_display = ["policy", "version_number", "decision", "user", "revision", "created_at", "withdrawn_at"]
    list_filter = ["decision", "created_at"]
    list_select_related = ["policy__prompt", "policy__workflow", "user"]
    search_fields = ["policy__label", "user__email", "comment"]
    ordering = ["-id"]
    exclude = ["updated_at"]


def _policy(object_id: Any) -> PromotionPolicy:
    try:
        found: PromotionPolicy = PromotionPolicy.objects.with_target().get(pk=UUID(str(object_id)))
    except (ValueError, PromotionPolicy.DoesNotExist):
        raise Http404 from None
    return found


def _decide(request: HttpRequest, policy: PromotionPolicy, form: DecisionForm) -> bool:
    decision = request.POST.get("decision", "")
    if decision not in Decision.values:
        form.add_error(None, "Approve or reject.")
        return False
    try:
        with transaction.atomic():
            made = decide(
                policy=policy,
                version_number=form.cleaned_data["version"],
                decision=decision,
                comment=form.cleaned_data["comment"],
                by=operator(request, policy.organization_id),
            )
    except ApiError as error:
        form.add_error("version" if "version" in error.details else None, error.message)
        return False
    messages.success(request, f"Version {made.version_number}: {made.get_decision_display().lower()}.")
    return True


def _facts(policy: PromotionPolicy) -> list[tuple[str, Any]]:
    evaluators = ", ".join(f"{metric.name} ({metric.evaluator_version})" for metric in policy.metrics.all())
    dataset = policy.dataset_version
    return [
        (policy.target_kind.capitalize(), policy.target.slug),
        ("Label", policy.label),
        ("Dataset", f"{dataset.dataset.slug}, {dataset}"),
        ("Items", f"of split {policy.split}" if policy.split else "all"),
        ("Evaluators", evaluators),
        ("Compared with", "where the label points" if policy.compares else "nothing"),
        ("Approvals by others", policy.min_approvals),
        ("Revision", policy.revision),
        ("In force", "yes" if policy.is_active and not policy.is_deleted else "no"),
    ]


def _versions(policy: PromotionPolicy, mover_id: UUID | None) -> list[dict[str, Any]]:
    """The newest ones, with what each still needs for this user to move the label there."""
    current = current_version(policy)
    found = policy.target.versions.select_related("created_by").order_by("-version_number")[:NEWEST_SHOWN]
    return [
        {
            "version": version,
            "is_current": version == current,
            "found": requirements(policy, version=version, current=current, mover_id=mover_id),
        }
        for version in found
    ]
