"""The product's one middleware: request id, size limit, log line, metrics, and JSON errors under /api."""

import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import structlog
from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from everquant.api.errors import ApiError, BadRequest, NotFound, PayloadTooLarge, error_response
from everquant.context import RequestContext, request_context
from everquant.db import uuid7
from everquant.metrics import REQUESTS

logger = structlog.get_logger("everquant.request")

_ID = re.compile(r"/[0-9a-f-]{36}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
API_PREFIXES = ("/api/v1/", "/v1/")
REQUEST_ID = "X-Request-ID"
_CONTEXT = "everquant.context"
_QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}
GetResponse = Callable[[HttpRequest], HttpResponseBase]


class RequestMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        with request_context(context_of(request.META)) as context:
            response = self._answer(request)
            response.headers[REQUEST_ID] = context.request_id
            route = request.resolver_match.route if request.resolver_match else "unmatched"
            measure(request.method or "", route, response.status_code, started)
            if request.path not in _QUIET_PATHS:
                log(request.META, request.path, response.status_code, context, started)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        try:
            refuse_other_hosts(request)
            refuse_bad_framing(request)
        except ApiError as error:
            return error_response(error)
        response = self.get_response(request)
        if response.status_code == 404 and request.resolver_match is None and is_api(request.path):
            return error_response(NotFound(f"There is nothing at {request.path}."))
        return response


def context_of(environ: dict[str, Any]) -> RequestContext:
    """The context of the request that this environment is of: the same however often it is asked for."""
    context: RequestContext | None = environ.get(_CONTEXT)
    if context is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid7())
        context = environ[_CONTEXT] = RequestContext(request_id, client_ip(environ))
    return context


def measure(method: str, route: str, status: int, started: float) -> None:
    """Count an answer to a request that began at `started` (of `time.perf_counter`) in the metrics."""
    _histogram(method, route, status).observe(time.perf_counter() - started)


@lru_cache(maxsize=4096)
def _histogram(method: str, route: str, status: int) -> Any:
    return REQUESTS.labels(method, route, status)


def log(environ: dict[str, Any], path: str, status: int, context: RequestContext, started: float) -> None:
    """Write the request's one line."""
    principal = context.principal
    logger.info(
        "request",
        method=environ["REQUEST_METHOD"].upper(),
        path=path,
        status=status,
        latency_ms=round((time.perf_counter() - started) * 1000, 2),
        client_ip=context.client_ip,
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        user=str(principal.user_id) if principal else None,
        organization=str(principal.organization_id) if principal else None,
    )


class OriginMiddleware(CorsMiddleware):
    """django-cors-headers for requests that name an origin; of the others it would only parse all headers."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ORIGIN" in request.META:
            return super().__call__(request)
        response = self.get_response(request)
        if request.path_info.startswith(API_PREFIXES):
            response.headers.setdefault("Vary", "origin")  # type: ignore[union-attr] # it is not async
        return response


class ApiBoundaryMiddleware:
    """Requests of the API skip the middlewares listed below this one: sessions, CSRF, messages and frames are for
    pages, and cost a third of a fast read."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._view = _innermost(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(API_PREFIXES):
            return self._view(request)
        return self.get_response(request)


def _innermost(handler: Any) -> GetResponse:
    """The end of a chain of middlewares: Django wraps each in a function whose `__wrapped__` is the middleware."""
    while inner := getattr(getattr(handler, "__wrapped__", None), "get_response", None):
        handler = inner
    return cast("GetResponse", handler)


def is_api(path: str) -> bool:
    return path.startswith(("/api/", "/v1/")) or path in {"/api", "/v1"}


def refuse_other_hosts(request: HttpRequest) -> None:
    """Raises BadRequest for a Host that is not in ALLOWED_HOSTS (Django would look only where it builds a URL)."""
    try:
        if request.path not in _QUIET_PATHS:  # probes ask by address
            request.get_host()
    except DisallowedHost:
        raise BadRequest("This host is not served here.") from None


def refuse_bad_framing(request: HttpRequest) -> None:
    """Raises PayloadTooLarge over the limit, BadRequest for a body whose length is not declared."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if length.isdigit() and int(length) > (most := _largest_body(request.path)):
        raise PayloadTooLarge(f"The body may have at most {most} bytes.")
    if not length and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        raise BadRequest("A body needs a Content-Length; chunked bodies are not read.")


def _largest_body(path: str) -> int:
    most: int = settings.LARGER_BODIES.get(_ID.sub("/*", path), settings.MAX_BODY_BYTES)
    return most


def client_ip(environ: dict[str, Any]) -> str | None:
    """The address of the client: the peer, or what the outermost trusted proxy saw (TRUSTED_PROXIES of them)."""
    peer = environ.get("REMOTE_ADDR") or None
    hops = settings.TRUSTED_PROXIES
    if not hops:
        return peer
    seen = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    return seen[-hops] if len(seen) >= hops else peer


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: nothing of the inside. What fails in a view is logged by the view; this is what failed around it."""
    logger.error("unhandled_exception", exc_info=sys.exc_info())
    if is_api(request.path):
        return error_response(ApiError("The server failed; it has been logged."))
    return HttpResponse("Server error", status=500, content_type="text/plain")
