"""Answers to what a run waits for: given once, by whom it was asked of, and the run goes on."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.prompts.rendering.schema import defaults, value_problems
from apps.users.principal import Principal
from apps.workflows.engine import events
from apps.workflows.engine.queue import wake
from apps.workflows.models import Approval, ApprovalStatus, WorkflowRun
from everquant.api.errors import BadRequest, Conflict, Forbidden
from everquant.db import lock_for_update

_EXECUTE = "workflows:execute"


def names_of(by: Principal) -> list[str]:
    """As whom assignees may name this person; addresses are stored in lower case."""
    return [f"user:{by.email.lower()}", f"role:{by.role}"]


def require_assignee(approval: Approval, by: Principal) -> None:
    """Raises Forbidden for API keys, and for whom it was not asked of; without assignees, anyone may run workflows."""
    if by.api_key_id is not None:
        raise Forbidden("Approvals are answered by people, not by API keys.")
    named = set(approval.assignees)
    if not (named & set(names_of(by)) if named else by.can(_EXECUTE)):
        raise Forbidden("This approval was asked of others.")


@transaction.atomic(savepoint=False)
def decide(
    *, approval: Approval, by: Principal, decision: str, data: Mapping[str, Any] | None = None, comment: str = ""
) -> Approval:
    """`decision` is approved or rejected. The answer, its event and the run's going on are one transaction.

    An approval's `data` must fit the form; a refusal may leave it out. Raises Forbidden (see `require_assignee`),
    Conflict when it was answered, has expired or was cancelled, BadRequest naming `data.<path>`.
    """
    require_assignee(approval, by)
    # The run first, as its end does, so that neither waits for the other.
    lock_for_update(WorkflowRun.objects.only("id"), pk=approval.run_id)
    found: Approval = lock_for_update(Approval.objects.all(), pk=approval.pk)
    now = timezone.now()
    _require_pending(found, now)
    found.data = _fitting(found, decision, dict(data or {}))
    found.status, found.comment = ApprovalStatus(decision), comment
    found.decided_at, found.decided_by_id = now, by.user_id
    found.save_fields("status", "data", "comment", "decided_at", "decided_by")
    said = {"approval_id": str(found.id), "path": found.path, "decision": decision, "decided_by": by.email}
    events.append(found.run_id, [("approval.decided", said)])
    wake(found.run_id)
    return found


def pending_approval(run: WorkflowRun, *, approval_id: Any = None, path: str | None = None) -> Approval:
    """The one that is meant: by id, by path, or the only pending one.

    Raises BadRequest when the run has no such approval or several are pending, Conflict when none is.
    """
    approvals = Approval.objects.filter(run=run)
    if approval_id is not None or path is not None:
        wanted = {"id": approval_id} if approval_id is not None else {"path": path}
        field = "approval_id" if approval_id is not None else "path"
        approval = approvals.filter(**wanted).first()
        if approval is None:
            raise BadRequest("The run has no such approval.", details={field: "The run has no such approval."})
        return approval
    pending = list(approvals.filter(status=ApprovalStatus.PENDING)[:2])
    if not pending:
        raise Conflict("The run waits for no approval.", details={"status": run.status})
    if len(pending) > 1:
        why = "Several approvals are pending: say which."
        raise BadRequest(why, details={"approval_id": why})
    return pending[0]


def _require_pending(approval: Approval, now: Any) -> None:
    if approval.status != ApprovalStatus.PENDING:
        raise Conflict("The approval is no longer pending.", details={"status": approval.status})
    if approval.expires_at is not None and approval.expires_at <= now:
        raise Conflict("The approval has expired.", details={"status": ApprovalStatus.EXPIRED})


def _fitting(approval: Approval, decision: str, data: dict[str, Any]) -> dict[str, Any]:
    if not data and decision == ApprovalStatus.REJECTED:
        return data
    complete = {**defaults(approval.form), **data}
    details = value_problems(approval.form, complete, "data")
    if details:
        raise BadRequest("The data does not fit the form.", details=details)
    return complete
