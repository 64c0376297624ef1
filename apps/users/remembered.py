"""Reads that are answered ahead of their view, when the view has answered the same before.

The view stays the truth: it has checked the target when its answer was kept, and whatever is not plainly in order here
(no credential, a limit that is used up, a permission that is missing, nothing kept) is left for it to answer.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.users.authentication import bearer_credential, caller_of, note_use, prefetch_for
from everquant.api.answers import AnswerCache
from everquant.api.conditional import is_conditional
from everquant.api.errors import Unauthorized
from everquant.api.throttling import tightest
from everquant.cache import peek_prefetched
from everquant.context import current

View = Callable[..., HttpResponseBase]


def remembered(view: Any, answers: AnswerCache) -> View:
    """`view` (of a sealed viewset), whose GET is answered from `answers` to whoever may do what it does."""
    permission = view.cls.permissions[view.actions["get"]]

    @wraps(view)
    def kept_or_made(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _kept(request, permission, answers) or view(request, *args, **kwargs)

    return kept_or_made


def _kept(request: HttpRequest, permission: str, answers: AnswerCache) -> HttpResponse | None:
    header, known = request.META.get("HTTP_AUTHORIZATION"), request.META.get("HTTP_IF_NONE_MATCH")
    target = answers.target(request)
    if request.method != "GET" or not header or target is None or not (known is None or is_conditional(known)):
        return None
    try:
        caller = caller_of(bearer_credential(header))
    except Unauthorized:
        return None
    if caller is None:
        return None
    windows = prefetch_for(caller, answers.names(caller.organization_id, target))
    counts = peek_prefetched(*(window.counter for window in windows))
    principal, answer = caller.peek(), answers.peek(caller.organization_id, target)
    if counts is None or principal is None or answer is None or not principal.can(permission):
        return None
    if any(count > window.limit for window, count in zip(windows, counts, strict=True)):
        return None
    context = current()
    if context is not None:
        context.principal = principal
    note_use(principal)
    response = answer.response(known)
    usage = tightest(window.usage(count) for window, count in zip(windows, counts, strict=True))
    for name, value in usage.headers.items():
        response.headers[name] = value
    return response
