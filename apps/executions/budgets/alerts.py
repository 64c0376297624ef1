"""Telling of shares of budgets that were reached. The trigger that settles has made a row of each, once a period.

A row is marked and its event and mail are queued in one transaction, so that nothing is told twice or not at all.
"""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.executions.models import Budget, BudgetAlert
from apps.organizations.models import Organization
from apps.organizations.webhooks import emit
from apps.users.models import Membership
from apps.users.permissions import Role
from everquant.db import release_connection

EVENT = "budget.alert"
SEND_TASK = "executions.send_budget_alert"
_MOST_AT_ONCE = 100

_MAIL = """\
The budget "{name}" of {organization} on EverQuant has reached {reached} of its limit.

Spent: {spent_usd} USD of {limit_usd} USD in the {period} from {period_start} (UTC).
{consequence}

Budgets are changed at {url}.
"""


def announce_alerts() -> int:
    """Have everybody told of the alerts that nobody was told of yet; gives how many."""
    with transaction.atomic():
        rows = list(
            BudgetAlert.objects.filter(announced_at__isnull=True)
            .order_by("reached_at", "budget_id", "share")
            .select_for_update(skip_locked=True)[:_MOST_AT_ONCE]
        )
        budgets = Budget.objects.in_bulk({row.budget_id for row in rows})
        for row in rows:
            row.announced_at = timezone.now()
            row.save(update_fields=["announced_at"])
            budget = budgets.get(row.budget_id)
            if budget is not None:
                _queue(budget, _told(budget, row))
    return len(rows)


def _queue(budget: Budget, told: dict[str, Any]) -> None:
    emit(organization_id=budget.organization_id, event=EVENT, data=told)
    admins = Membership.objects.for_organization(budget.organization_id).in_force().filter(role=Role.ADMIN)
    letter = app.configure_task(SEND_TASK)
    for email in admins.order_by("user__email").values_list("user__email", flat=True):
        letter.defer(email=email, told={name: str(value) for name, value in told.items()})


def _told(budget: Budget, alert: BudgetAlert) -> dict[str, Any]:
    return {
        "budget_id": budget.id,
        "organization_id": budget.organization_id,
        "name": budget.name,
        "scope": budget.scope,
        "scope_id": budget.scope_id,
        "period": budget.period,
        "period_start": alert.period_start,
        "share": alert.share,
        "limit_usd": alert.limit_usd,
        "spent_usd": alert.spent_usd,
        "is_hard": budget.is_hard,
        "reached_at": alert.reached_at,
    }


def send_alert_mail(*, email: str, told: dict[str, str]) -> None:
    words = {name: " ".join(value.split()) for name, value in told.items()}
    share = float(words.pop("share"))
    is_used_up = words["is_hard"] == "True" and share >= 1
    body = _MAIL.format(
        **words,
        reached=f"{share:.0%}",
        organization=Organization.objects.values_list("name", flat=True).get(id=words["organization_id"]),
        consequence="Further calls are refused until the period ends." if is_used_up else "Calls go on.",
        url=f"{settings.PUBLIC_URL}/api/v1/billing/budgets/{words['budget_id']}",
    )
    release_connection()
    send_mail(f"Budget {words['name']}: {share:.0%} spent", body, settings.DEFAULT_FROM_EMAIL, [email])
