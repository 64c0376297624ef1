"""Making and changing budgets."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Sum

from apps.executions.models import Budget, BudgetScope, BudgetSpend, Execution
from apps.prompts.models import Prompt
from apps.users.models import ApiKey, Membership
from everquant.api.errors import BadRequest, Conflict

# As in the trigger that settles executions.
_LOCK = 7_305_202
_TAKEN = {"executions_budget_unique", "executions_budget_organization_unique"}
_COLUMNS = {
    BudgetScope.USER: "created_by_id",
    BudgetScope.API_KEY: "api_key_id",
    BudgetScope.PROMPT: "prompt_id",
}


@transaction.atomic
def create_budget(*, organization_id: UUID, **values: Any) -> Budget:
    """It has spent what the ledger has of its period already.

    Raises BadRequest for a `scope_id` that is not the organization's, Conflict when there is such a budget.
    The organization's executions that end meanwhile wait, and then find the budget.
    """
    if not is_of(organization_id, values["scope"], values["scope_id"]):
        raise BadRequest("scope_id: No such object.", details={"scope_id": "No such object."})
    wait_for_executions(organization_id)
    budget = Budget(organization_id=organization_id, **values)
    with _one_of_a_kind():
        budget.save(force_insert=True)
    start_spend(budget)
    return budget


def wait_for_executions(organization_id: UUID) -> None:
    """Until the transaction ends, no execution of the organization ends: the ledger stands still."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, str(organization_id)])


def is_of(organization_id: UUID, scope: str, scope_id: UUID | None) -> bool:
    """Whether the scope's user, key or prompt is the organization's."""
    found: Any
    if scope == BudgetScope.USER:
        found = Membership.objects.for_organization(organization_id).filter(user_id=scope_id)
    elif scope == BudgetScope.API_KEY:
        found = ApiKey.objects.for_organization(organization_id).unrevoked().filter(id=scope_id)
    elif scope == BudgetScope.PROMPT:
        found = Prompt.objects.for_organization(organization_id).alive().filter(id=scope_id)
    else:
        return scope_id is None
    return bool(found.exists())


def start_spend(budget: Budget) -> BudgetSpend:
    """The row of the period in which the budget was made; under the lock of `wait_for_executions`."""
    period_start = budget.period_start(budget.created_at)
    spent = _ledger(budget, datetime.combine(period_start, time(), UTC))
    return BudgetSpend.objects.create(budget=budget, period_start=period_start, spent_usd=spent)


def _ledger(budget: Budget, since: datetime) -> Decimal:
    executions = Execution.objects.for_organization(budget.organization_id).created_from(since)
    if budget.scope != BudgetScope.ORGANIZATION:
        executions = executions.filter(**{_COLUMNS[BudgetScope(budget.scope)]: budget.scope_id})
    return Decimal(executions.aggregate(total=Sum("cost_usd"))["total"] or 0)


def update_budget(*, budget: Budget, **values: Any) -> Budget:
    """Raises Conflict when there is such a budget."""
    for name, value in values.items():
        setattr(budget, name, value)
    with _one_of_a_kind():
        budget.save_fields(*values)
    return budget


@contextmanager
def _one_of_a_kind() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if getattr(getattr(error.__cause__, "diag", None), "constraint_name", "") not in _TAKEN:
            raise
        message = "There is a budget of this scope and period already; one may be hard, and one only alert."
        raise Conflict(message, details={"scope": message}) from None
