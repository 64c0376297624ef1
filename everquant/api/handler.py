"""The one place where every failure of a view becomes the error envelope."""

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import OperationalError
from django.http import Http404
from psycopg_pool import PoolTimeout
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from everquant.api.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Details,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    error_body,
)

logger = structlog.get_logger(__name__)


def handle_exception(exception: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: every exception becomes an envelope, an unexpected one a logged 500."""
    set_rollback()
    error = as_api_error(exception)
    if error.status == 500:
        logger.error("unhandled_exception", exc_info=exception, view=type(context.get("view")).__name__)
    response = Response(error_body(error), status=error.status)
    response.is_error = True  # type: ignore[attr-defined] # read by the renderer
    for name, value in error.headers.items():
        response.headers[name] = value
    return response


def as_api_error(exception: Exception) -> ApiError:
    if isinstance(exception, ApiError):
        return exception
    if isinstance(exception, drf.ValidationError):
        details = flatten(exception.detail)
        return BadRequest(_sentence(details), details=details)
    if isinstance(exception, DjangoValidationError):
        details = flatten(exception.message_dict if hasattr(exception, "error_dict") else {"": exception.messages})
        return BadRequest(_sentence(details), details=details)
    if isinstance(exception, Http404):
        return NotFound("No such object.")
    if isinstance(exception, PermissionDenied):
        return Forbidden("This is not allowed.")
    if isinstance(exception, RequestDataTooBig):
        return PayloadTooLarge("The body is too large.")
    if isinstance(exception, drf.APIException):
        return _from_drf(exception)
    if isinstance(exception, PoolTimeout) or (
        isinstance(exception, OperationalError) and not _is_statement_timeout(exception)
    ):
        logger.error("database_away", error=str(exception))
        return ServiceUnavailable("The database does not answer; try again.", retry_after_s=2)
    return ApiError("The server failed; it has been logged.")


def _is_statement_timeout(exception: OperationalError) -> bool:
    return getattr(exception.__cause__, "sqlstate", None) == "57014"


_BY_STATUS: dict[int, type[ApiError]] = {
    cls.status: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, Conflict, UnsupportedMediaType, RateLimited,
    )
}  # fmt: skip


def _from_drf(exception: drf.APIException) -> ApiError:
    status = 404 if exception.status_code == 406 else exception.status_code
    cls = _BY_STATUS.get(status, BadRequest if status < 500 else ApiError)
    if isinstance(exception, drf.NotAuthenticated | drf.AuthenticationFailed):
        cls = Unauthorized
    return cls(str(exception.detail))


def flatten(detail: Any, path: str = "") -> Details:
    """DRF's nested errors as a map from dotted path to one string: {"messages.0.role": "..."}."""
    if isinstance(detail, dict):
        items = [(str(key), value) for key, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(part, dict | list) for part in detail):
        items = [(str(index), value) for index, value in enumerate(detail) if value]
    else:
        return {path or "body": " ".join(map(str, detail)) if isinstance(detail, list) else str(detail)}
    flat: Details = {}
    for key, value in items:
        key_path = path if key in {"", "non_field_errors", "__all__"} else f"{path}.{key}" if path else key
        flat.update(flatten(value, key_path))
    return flat


def _sentence(details: Details) -> str:
    if len(details) == 1:
        path, reason = next(iter(details.items()))
        return reason if path == "body" else f"{path}: {reason}"
    return f"{len(details)} fields are not valid."
