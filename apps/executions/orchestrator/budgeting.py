"""Step 4: what a call may cost at most is held in every budget that applies, in the transaction that stores it.

`executions_reserve()`, a function of the database, adds the amount to each budget's row of the period, which locks it;
what it judges by are the rows as they are then, also after waiting for others. So of concurrent calls each sees what
those before it have reserved, and spent + reserved stays within a hard limit. A refusal is an error of the statement,
which undoes whatever was sent with it.

An execution counts in the period in which it was made. Reserving twice for one execution changes nothing: what is made
in one process and called in another may reserve in either. It is settled by the trigger of the executions' table.

Within a hard budget a call is sent what was reserved as the limit of its output.

An organization without an active budget that applies costs no statement. That there is none is remembered for a minute
under an epoch that a change of its budgets ends when it commits; which budgets there are, and their limits, are read
by the statement itself. Calls that began before a budget was made are not refused by it, but their cost counts in it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import post_delete, post_save

from apps.executions.budgets.amounts import dearest, most_cost_of_calls, most_input_cost, most_input_tokens
from apps.executions.models import Budget, BudgetScope, Execution
from apps.executions.orchestrator.recording import Statement
from apps.models.models import LLMModel
from everquant.api.errors import BudgetExceeded
from everquant.cache import EpochCache
from everquant.memory import TTL_S, EpochMemory

if TYPE_CHECKING:
    from apps.executions.orchestrator.resolution import Plan

Scopes = frozenset[tuple[str, UUID | None]]


@dataclass(frozen=True, slots=True)
class Budgeted:
    """What an organization's active budgets are for."""

    scopes: Scopes
    hard: Scopes


_epochs = EpochCache("budgets", ttl_s=int(TTL_S))

_REFUSE = "SELECT executions_refuse(row_to_json(refused)) FROM"
_PARAMETERS = "(%s, %s, %s, %s, %s, %s, %s, %s) AS refused"
# One that the same transaction stores need not be looked up, which is half of the work.
_RESERVE_NEW = f"{_REFUSE} executions_hold{_PARAMETERS}"
# A key is claimed before a budget is held, as by those who claim it in a statement of its own.
_RESERVE_CLAIMED = _RESERVE_NEW.replace("executions_hold(%s", "claimed, executions_hold(claimed.id")
_RESERVE_STORED = f"{_REFUSE} executions_reserve{_PARAMETERS}"
_REFUSED = "EQ402"
_NAMES = {
    "budget_id": "budget_id", "budget_name": "budget_name", "budget_scope": "scope", "budget_period": "period",
    "period_from": "period_start", "limited_usd": "limit_usd", "spent_before_usd": "spent_usd",
    "reserved_before_usd": "reserved_usd",
}  # fmt: skip


class Hold:
    """An execution's place in the budgets that apply to it. `plan` is the given one as it may be sent within them."""

    def __init__(self, execution: Execution, plan: "Plan") -> None:
        self._execution = execution
        mine, budgeted = _scopes_of(execution), budgeted_by(execution.organization_id)
        self._is_budgeted = bool(mine & budgeted.scopes)
        self.plan = replace(plan, is_limited=True) if mine & budgeted.hard else plan

    @contextmanager
    def reserved(
        self, *, is_new: bool = False, is_free: bool = False, is_claimed: bool = False
    ) -> Iterator[Statement | None]:
        """Gives what reserves, to be sent with what stores the execution; None without a budget or cost.

        With `is_claimed` the same statement claims the execution's id, as `claimed`.

        Raises BudgetExceeded for its refusal; nothing that was sent with it is stored then.
        """
        if is_free or not self._is_budgeted:
            yield None
            return
        amount, unpriced = most_for(self.plan, self._execution.created_at)
        with reserving(self._execution, amount, unpriced, is_new=is_new) as (text, parameters):
            yield (_RESERVE_CLAIMED, parameters[1:]) if is_claimed else (text, parameters)


@contextmanager
def reserving(execution: Execution, amount: Decimal, unpriced: LLMModel | None, *, is_new: bool) -> Iterator[Statement]:
    """What reserves this amount for an execution, to be sent within. Raises BudgetExceeded for its refusal.

    For one that is not new, and has ended or has its reservation, it changes nothing.
    """
    parameters = [
        execution.id, execution.organization_id, execution.created_by_id, execution.api_key_id, execution.prompt_id,
        execution.created_at.astimezone(UTC), amount, unpriced is None,
    ]  # fmt: skip
    try:
        # The caller's transaction, if there is one, outlives a refusal.
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            yield _RESERVE_NEW if is_new else _RESERVE_STORED, parameters
    except DatabaseError as error:
        told = getattr(error.__cause__, "diag", None)
        if told is None or told.sqlstate != _REFUSED:
            raise
        raise _refusal(json.loads(told.message_detail, parse_float=Decimal), amount, unpriced) from None


def most_for(plan: "Plan", at: datetime) -> tuple[Decimal, LLMModel | None]:
    """USD that the dearest candidate may cost, and a candidate without a known price."""
    tokens = most_input_tokens(plan.messages, plan.version.tools, plan.version.response_schema)
    if plan.is_embedding:
        return dearest((model, most_input_cost(model, tokens, at)) for model in plan.candidates)
    calls = 1 + (settings.STRUCTURED_OUTPUT_REPAIRS if plan.version.response_schema is not None else 0)
    return dearest(
        (model, most_cost_of_calls(model, plan.parameters_for(model), tokens, at, calls)) for model in plan.candidates
    )


def _refusal(row: dict[str, Any], amount: Decimal, unpriced: LLMModel | None) -> BudgetExceeded:
    details = {name: _text(row[column]) for column, name in _NAMES.items()}
    name = details["budget_name"]
    if unpriced is not None:
        details["model_id"] = str(unpriced.id)
        why = f"The budget {name!r} is hard, and the price of the model {unpriced.slug!r} is not known."
        return BudgetExceeded(why, details=details)
    details["amount_usd"] = _text(amount)
    return BudgetExceeded(
        f"The budget {name!r} has not enough left for this call of at most {details['amount_usd']} USD.",
        details=details,
    )


def _text(value: Any) -> str:
    return f"{Decimal(value).normalize():f}" if isinstance(value, Decimal | int) else str(value)


def budgeted_by(organization_id: UUID) -> Budgeted:
    """What the organization's active budgets are for. No query while it is remembered."""
    return _memory.get(organization_id, None, lambda: _load(organization_id))


def _scopes_of(execution: Execution) -> Scopes:
    return frozenset(
        {
            (BudgetScope.ORGANIZATION.value, None),
            (BudgetScope.USER.value, execution.created_by_id),
            (BudgetScope.API_KEY.value, execution.api_key_id),
            (BudgetScope.PROMPT.value, execution.prompt_id),
        }
    )


def _load(organization_id: UUID) -> Budgeted:
    active = Budget.objects.for_organization(organization_id).filter(is_active=True)
    rows = list(active.order_by().values_list("scope", "scope_id", "is_hard"))
    return Budgeted(frozenset(row[:2] for row in rows), frozenset(row[:2] for row in rows if row[2]))


def names(organization_id: UUID) -> tuple[str, str]:
    """What is read of Redis for `budgeted_by`."""
    return _epochs.names(str(organization_id), "")


def _read_epoch(organization_id: UUID) -> bytes | None:
    return _epochs.read(str(organization_id), "")[1]


_memory: EpochMemory[Budgeted] = EpochMemory(_read_epoch)


def _on_change(instance: Budget, **_: Any) -> None:
    _epochs.invalidate(str(instance.organization_id))


def connect_invalidation() -> None:
    """Called once at start: whatever path changes budgets, every process learns of it."""
    for signal in (post_save, post_delete):
        signal.connect(_on_change, sender=Budget, dispatch_uid="budgets")
