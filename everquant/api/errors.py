"""Typed errors with a stable code and status. Services raise them; `handler.py` answers them."""

from typing import Any, ClassVar

import orjson
from django.http import HttpResponse

from everquant.context import current

Details = dict[str, str]


class ApiError(Exception):
    """A failure that the client is told of. `details` maps the dotted path of an input to one sentence."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

    def __init__(
        self, message: str = "", *, details: Details | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message or "The request failed."
        self.details = details or {}
        self.headers = headers or {}


class BadRequest(ApiError):
    status, code = 400, "BAD_REQUEST"


class Unauthorized(ApiError):
    status, code = 401, "UNAUTHORIZED"

    def __init__(self, message: str = "", **kwargs: Any) -> None:
        super().__init__(message or "Authentication is required.", **kwargs)
        self.headers.setdefault("WWW-Authenticate", "Bearer")


class BudgetExceeded(ApiError):
    status, code = 402, "BUDGET_EXCEEDED"


class Forbidden(ApiError):
    status, code = 403, "FORBIDDEN"


class NotFound(ApiError):
    status, code = 404, "NOT_FOUND"


class MethodNotAllowed(ApiError):
    status, code = 405, "METHOD_NOT_ALLOWED"


class Conflict(ApiError):
    status, code = 409, "CONFLICT"


class PreconditionFailed(ApiError):
    status, code = 412, "PRECONDITION_FAILED"


class PayloadTooLarge(ApiError):
    status, code = 413, "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(ApiError):
    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"


class RateLimited(ApiError):
    status, code = 429, "RATE_LIMITED"


class UpstreamFailed(ApiError):
    """A model provider answered wrongly."""

    status, code = 502, "PROVIDER_ERROR"


class ServiceUnavailable(ApiError):
    status, code = 503, "SERVICE_UNAVAILABLE"

    def __init__(self, message: str = "", *, retry_after_s: int = 1, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.headers.setdefault("Retry-After", str(retry_after_s))


class UpstreamTimeout(ApiError):
    status, code = 504, "PROVIDER_TIMEOUT"


def error_body(error: ApiError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": error.message, "details": error.details}
    context = current()
    if error.status >= 500 and context is not None:
        body["request_id"] = context.request_id
    return {"success": False, "error": body}


def error_response(error: ApiError) -> HttpResponse:
    """The envelope outside of a DRF view."""
    response = HttpResponse(orjson.dumps(error_body(error)), status=error.status, content_type="application/json")
    for name, value in error.headers.items():
        response.headers[name] = value
    return response
