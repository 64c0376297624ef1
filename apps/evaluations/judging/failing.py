"""Calls that gave nothing, as evaluators are told of them."""

from apps.executions.models import INTERRUPTED
from apps.executions.orchestrator import Finished
from apps.models.providers.base import ErrorCode
from apps.models.providers.cancellation import Cancellation
from apps.workflows.evaluating import EvaluationError
from everquant.api.errors import ApiError

MESSAGE_LENGTH = 500


def failure_of(finished: Finished) -> EvaluationError:
    """With the code of the execution, and what it has cost."""
    execution = finished.execution
    return EvaluationError(
        execution.error_code or ErrorCode.CANCELLED.value,
        execution.error_message or "The call was cancelled.",
        cost_usd=execution.cost_usd,
        execution_ids=(execution.id,),
    )


def refusal(error: ApiError, cancellation: Cancellation) -> EvaluationError:
    """Of what was not called, or is still being called by another process."""
    if cancellation.is_requested:
        code = INTERRUPTED if cancellation.is_interruption else ErrorCode.CANCELLED.value
        return EvaluationError(code, "The call was stopped.")
    if "execution_id" in error.details:
        return EvaluationError(ErrorCode.TIMEOUT_TOTAL.value, error.message)
    told = "; ".join(f"{path}: {why}" for path, why in error.details.items())
    return EvaluationError(error.code, f"{error.message} {told}".strip()[:MESSAGE_LENGTH])
