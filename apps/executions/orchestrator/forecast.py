"""What a command can cost, without executing it."""

from datetime import datetime
from decimal import Decimal

from apps.executions.orchestrator.budgeting import most_for
from apps.executions.orchestrator.command import Command
from apps.executions.orchestrator.resolution import resolve


def most_cost_of(command: Command, at: datetime) -> Decimal | None:
    """USD that it costs at most, its repairs included; None when the price of a model that may answer is not known.

    It holds for commands that are limited. Raises what `prepare` raises of a command that cannot be executed.
    """
    amount, unpriced = most_for(resolve(command), at)
    return amount if unpriced is None else None
