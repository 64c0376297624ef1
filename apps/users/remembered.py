"""Reads that are answered ahead of their view and its URL, when the view has answered the same before.

The view stays the truth: it has checked the target when its answer was kept, and whatever is not plainly in order here
(no credential, a limit that is used up, a permission that is missing, nothing kept) is left for it to answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from apps.users.authentication import bearer_credential, caller_of, note_use, prefetch_for
from everquant.api.answers import AnswerCache
from everquant.api.conditional import is_conditional
from everquant.api.errors import Unauthorized
from everquant.api.throttling import tightest
from everquant.cache import peek_prefetched
from everquant.context import current

View = Callable[..., HttpResponseBase]


REMEMBERED_READS = 4096


@dataclass(frozen=True, slots=True)
class _Read:
    """What a target is read by, whoever reads it."""

    permission: str
    answers: AnswerCache
    match: ResolverMatch | None


# By target, of what this process has answered with success.
_reads: dict[str, _Read] = {}


def remembered(view: Any, answers: AnswerCache) -> View:
    """`view` (of a sealed viewset), whose GET is answered from `answers` to whoever may do what it does."""
    permission = view.cls.permissions[view.actions["get"]]

    @wraps(view)
    def noted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = view(request, *args, **kwargs)
        target = answers.target(request)
        if request.method == "GET" and target is not None and response.status_code in {200, 304}:
            if len(_reads) >= REMEMBERED_READS:
                _reads.clear()
            _reads[target] = _Read(permission, answers, request.resolver_match)
        return response

    return noted


class RememberedMiddleware:
    """Answers what is kept; everything else goes on to its view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return _kept(request) or self.get_response(request)


def _kept(request: HttpRequest) -> HttpResponse | None:
    header, known = request.META.get("HTTP_AUTHORIZATION"), request.META.get("HTTP_IF_NONE_MATCH")
    target = AnswerCache.target(request)
    read = _reads.get(target or "")
    if request.method != "GET" or not target or read is None or not header:
        return None
    if not (known is None or is_conditional(known)):
        return None
    try:
        caller = caller_of(bearer_credential(header))
    except Unauthorized:
        return None
    if caller is None:
        return None
    windows = prefetch_for(caller, read.answers.names(caller.organization_id, target))
    counts = peek_prefetched(*(window.counter for window in windows))
    principal, answer = caller.peek(), read.answers.peek(caller.organization_id, target)
    if counts is None or principal is None or answer is None or not principal.can(read.permission):
        return None
    if any(count > window.limit for window, count in zip(windows, counts, strict=True)):
        return None
    context = current()
    if context is not None:
        context.principal = principal
    request.resolver_match = read.match
    note_use(principal)
    response = answer.response(known)
    usage = tightest(window.usage(count) for window, count in zip(windows, counts, strict=True))
    for name, value in usage.headers.items():
        response.headers[name] = value
    return response
