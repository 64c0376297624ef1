"""Waits for a person."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.prompts.rendering import PromptError
from apps.prompts.rendering.schema import check_schema
from apps.users.models import Membership
from apps.users.permissions import Role
from apps.workflows import models
from apps.workflows.engine import events
from apps.workflows.models import ApprovalStatus, WorkflowRun
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Pinner, Result, Waiting
from apps.workflows.nodes.resolving import resolved_text
from apps.workflows.telling import tell_of_request
from everquant.db import lock_for_update, release_connection

LONGEST_S = 90 * 86_400
MAX_TITLE, MAX_MESSAGE = 200, 100_000


class Approval(NodeKind):
    """Output: `{"decision", "data", "comment", "decided_by"}`, the last one an e-mail address."""

    kind = "approval"
    literals = frozenset({"form", "assignees"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Waits until somebody approves or rejects.",
        {
            "title": fields.value_of(description=f"At most {MAX_TITLE} characters."),
            "message": fields.value("What there is to decide."),
            "assignees": {
                "type": "array",
                "description": "Who may decide: role:admin, user:ann@example.com. Nobody named: whoever may execute"
                " workflows.",
                "items": fields.name(r"(role:[a-z]{1,32}|user:[^\s@]{1,200}@[^\s@]{1,90})", 300, "role:… or user:…"),
                "maxItems": 50,
            },
            "form": {"type": "object", "description": "JSON Schema of the data that is given with the decision."},
            "expires_s": fields.whole(1, LONGEST_S, "How many seconds it waits; without it, for ever."),
            "on_expire": fields.handle("By which edges it goes on when nobody has decided; without it, `expired`."),
        },
    )

    def handles(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        expiry = [_on_expire(config)] if "expires_s" in config else []
        return tuple(dict.fromkeys([ApprovalStatus.APPROVED.value, ApprovalStatus.REJECTED.value, *expiry]))

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        problems = []
        for number, assignee in enumerate(config.get("assignees", [])):
            kind, _, name = assignee.partition(":")
            if kind == "role" and name not in Role.values:
                problems.append(("UNKNOWN_ROLE", f"One of {', '.join(Role.values)}.", f"assignees/{number}"))
        if "on_expire" in config and "expires_s" not in config:
            problems.append(("INVALID_CONFIG", "Without expires_s it never expires.", "on_expire"))
        if "form" in config:
            problems += _form_problems(config["form"])
        return problems

    def pin(self, config: Mapping[str, Any], pinner: Pinner) -> dict[str, Any]:
        """Nothing is pinned: who may decide is looked at when somebody does. Members must be some at publish."""
        wanted = {assignee: number for number, assignee in enumerate(config.get("assignees", []))}
        emails = {assignee.removeprefix("user:").lower(): number for assignee, number in wanted.items()}
        members = Membership.objects.for_organization(pinner.organization_id).in_force()
        found = set(members.filter(user__email__in=emails).values_list("user__email", flat=True)) if emails else set()
        for assignee, number in wanted.items():
            email = assignee.removeprefix("user:").lower()
            if assignee.startswith("user:") and email not in found:
                pinner.problem("UNKNOWN_USER", "No active member has this address.", f"assignees/{number}")
        return {}

    def run(self, call: NodeCall) -> Result:
        try:
            approval = _found(call) or _requested(call)
            if approval.status == ApprovalStatus.PENDING and _is_over(approval):
                approval = _expired(approval)
            return _answer(call, approval)
        finally:
            release_connection()


def _on_expire(config: Mapping[str, Any]) -> str:
    handle: str = config.get("on_expire", ApprovalStatus.EXPIRED.value)
    return handle


def _form_problems(form: Any) -> list[tuple[str, str, str]]:
    properties, required = form.get("properties"), form.get("required")
    names = [*(properties if isinstance(properties, dict) else ()), *(required if isinstance(required, list) else ())]
    try:
        check_schema(form, tuple(names))
    except PromptError as error:
        path, why = next(iter(error.details.items()))
        where = path.replace("variables_schema", "form", 1).replace(".", "/")
        return [("INVALID_SCHEMA", why, where)]
    return []


def _found(call: NodeCall) -> models.Approval | None:
    rows = models.Approval.objects.for_organization(call.run.organization_id).select_related("decided_by")
    found: models.Approval | None = rows.filter(run_id=call.run.id, path=call.path).first()
    return found


def _requested(call: NodeCall) -> models.Approval:
    """A new one, told of in the same transaction. When two workers come at once there is still one."""
    config = call.config
    approval = models.Approval(
        organization_id=call.run.organization_id,
        run_id=call.run.id,
        path=call.path,
        title=_limited(call, "title", MAX_TITLE),
        message=_limited(call, "message", MAX_MESSAGE),
        assignees=[assignee.lower() for assignee in config.get("assignees", [])],
        form=config.get("form", {}),
        expires_at=call.first_started_at + timedelta(seconds=config["expires_s"]) if "expires_s" in config else None,
    )
    try:
        with transaction.atomic():
            approval.save(force_insert=True)
            tell_of_request(approval)
    except IntegrityError:
        found = _found(call)
        if found is None:
            raise
        return found
    return approval


def _limited(call: NodeCall, key: str, longest: int) -> str:
    text = resolved_text(call, key)
    if len(text) > longest:
        raise NodeFailure("TOO_LARGE", f"{key}: At most {longest} characters.")
    return text


def _is_over(approval: models.Approval) -> bool:
    return approval.expires_at is not None and approval.expires_at <= timezone.now()


@transaction.atomic
def _expired(approval: models.Approval) -> models.Approval:
    """As it is now: expired, unless somebody has decided meanwhile. The run is locked first, as by whoever ends it."""
    lock_for_update(WorkflowRun.objects.only("id"), id=approval.run_id)
    current: models.Approval = lock_for_update(models.Approval.objects.select_related("decided_by"), id=approval.id)
    if current.status == ApprovalStatus.PENDING:
        current.status, current.decided_at = ApprovalStatus.EXPIRED, timezone.now()
        current.save_fields("status", "decided_at")
        events.append(current.run_id, [("approval.expired", {"path": current.path, "approval_id": current.id})])
    return current


def _answer(call: NodeCall, approval: models.Approval) -> Result:
    said = {"title": approval.title, "message": approval.message, "assignees": approval.assignees}
    if approval.status == ApprovalStatus.PENDING:
        raise Waiting(approval.expires_at, input=said)
    if approval.status == ApprovalStatus.CANCELLED:
        raise NodeFailure("CANCELLED", "The approval was cancelled.", input=said)
    is_expired = approval.status == ApprovalStatus.EXPIRED
    output = {
        "decision": str(approval.status),
        "data": approval.data,
        "comment": approval.comment,
        "decided_by": approval.decided_by.email if approval.decided_by else None,
    }
    handle = _on_expire(call.config) if is_expired else approval.status
    return Result(output, handle=str(handle), input=said)
