"""What a caller is told of an execution that did not succeed. It is recorded all the same, and can be read."""

import math

from apps.executions.models import INTERRUPTED, Status
from apps.executions.orchestrator import Finished
from apps.models.providers.base import ErrorCode
from everquant.api.errors import (
    ApiError,
    Conflict,
    RateLimited,
    ServiceUnavailable,
    UpstreamFailed,
    UpstreamTimeout,
)

_BY_CODE: dict[str, type[ApiError]] = {
    ErrorCode.TIMEOUT_CONNECT: UpstreamTimeout,
    ErrorCode.TIMEOUT_FIRST_TOKEN: UpstreamTimeout,
    ErrorCode.TIMEOUT_TOTAL: UpstreamTimeout,
    ErrorCode.RATE_LIMITED: RateLimited,
    ErrorCode.MODEL_LIMIT: RateLimited,
    ErrorCode.CIRCUIT_OPEN: ServiceUnavailable,
    INTERRUPTED: ServiceUnavailable,
}


def failure_of(finished: Finished) -> ApiError:
    """The error of a failed or cancelled execution; `details.execution_id` says where to read of it."""
    execution = finished.execution
    details = {"execution_id": str(execution.id)}
    if execution.status == Status.CANCELLED:
        return Conflict("The execution was cancelled.", details=details)
    details["provider_code"] = execution.error_code
    error_class = _BY_CODE.get(execution.error_code, UpstreamFailed)
    error = error_class(f"{execution.error_code}: {execution.error_message}", details=details)
    if error_class is RateLimited or execution.error_code == ErrorCode.CIRCUIT_OPEN:
        error.headers["Retry-After"] = str(math.ceil(finished.retry_after_s or 1))
    return error
