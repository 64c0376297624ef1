"""Reads that are answered ahead of Django, when their view has answered the same before.

A request object, the middlewares, the URL and a response object take several times what the answer itself takes. The
view stays the truth: it has checked the target when its answer was kept, and the headers are those that its answer left
with. Whatever is not plainly in order here (no credential, a limit that is used up, a permission that is missing,
nothing kept, a request that has more than a read needs) goes the whole way, with what has been read and counted for it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.users.authentication import bearer_credential, caller_of, is_use_due, prefetch_for
from everquant.api.answers import Answer, AnswerCache
from everquant.api.conditional import is_conditional
from everquant.api.errors import Unauthorized
from everquant.api.throttling import Usage, tightest
from everquant.cache import peek_prefetched
from everquant.context import RequestContext, request_context
from everquant.middleware import REQUEST_ID, context_of, log, measure

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
View = Callable[..., HttpResponseBase]

REMEMBERED_READS = 4096
LONGEST = 1024
_READ = "everquant.read"
# What the middlewares and the view look at, besides who asks.
_TARGET = ("PATH_INFO", "QUERY_STRING", "HTTP_HOST", "wsgi.url_scheme", "HTTP_X_FORWARDED_PROTO", "SCRIPT_NAME")
_OF_ONE_REQUEST = {
    "content-length",
    "etag",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    REQUEST_ID.lower(),
}


@dataclass(frozen=True, slots=True)
class _Read:
    """What a target is read by, whoever reads it, and what every answer to it says."""

    permission: str
    answers: AnswerCache
    target: str
    path: str
    route: str
    headers: Headers = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer for whoever has been found to be allowed to read it."""

    answer: Answer
    usage: Usage


# By target, of what this process has answered with success.
_reads: dict[tuple[str | None, ...], _Read] = {}


def remembered(view: Any, answers: AnswerCache) -> View:
    """`view` (of a sealed viewset), whose GET is answered from `answers` to whoever may do what it does."""
    permission = view.cls.permissions[view.actions["get"]]

    @wraps(view)
    def noted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        target = answers.target(request)
        if target is not None and request.resolver_match is not None:
            request.META[_READ] = _Read(permission, answers, target, request.path, request.resolver_match.route)
        return view(request, *args, **kwargs)

    return noted


def note_answer(environ: Environ, response: HttpResponse) -> None:
    """Remember what was answered to this request, if its next one may be answered ahead of it."""
    read = environ.get(_READ)
    if read is None or not _is_plain(environ) or response.status_code not in {200, 304} or response.cookies:
        return
    target = _target(environ)
    if sum(len(part or "") for part in target) > LONGEST:  # a client chooses most of it, and all of it stays
        return
    headers = [(name, value) for name, value in response.items() if name.lower() not in _OF_ONE_REQUEST]
    if len(_reads) >= REMEMBERED_READS:
        _reads.clear()
    _reads[target] = replace(read, headers=headers)


def answer_kept(environ: Environ) -> tuple[str, Headers, bytes] | None:
    """Status line, headers and body for the request of this WSGI environment; None when it must go the whole way."""
    started = time.perf_counter()
    read = _reads.get(_target(environ))
    if read is None or not _is_plain(environ):
        return None
    with request_context(context_of(environ)) as context:
        kept = _kept(environ, read, context)
        if kept is None:
            return None
        is_known = kept.answer.is_known(environ.get("HTTP_IF_NONE_MATCH"))
        measure("GET", read.route, 304 if is_known else 200, started)
        log(environ, read.path, 304 if is_known else 200, context, started)
    of_this = [("ETag", kept.answer.etag), (REQUEST_ID, context.request_id), *kept.usage.headers.items()]
    headers = [*read.headers, *of_this]
    return ("304 Not Modified", headers, b"") if is_known else ("200 OK", headers, kept.answer.body)


def _target(environ: Environ) -> tuple[str | None, ...]:
    return tuple(map(environ.get, _TARGET))


def _is_plain(environ: Environ) -> bool:
    """Whether nothing in the request but its credential and If-None-Match could change the answer."""
    known = environ.get("HTTP_IF_NONE_MATCH")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "HTTP_ORIGIN" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
        and not environ.get("CONTENT_LENGTH")
        and (known is None or is_conditional(known))
    )


def _kept(environ: Environ, read: _Read, context: RequestContext) -> _Kept | None:
    try:
        caller = caller_of(bearer_credential(environ.get("HTTP_AUTHORIZATION", "")))
    except Unauthorized:
        return None
    if caller is None:
        return None
    windows = prefetch_for(caller, read.answers.names(caller.organization_id, read.target))
    counts = peek_prefetched(*(window.counter for window in windows))
    principal, answer = caller.peek(), read.answers.peek(caller.organization_id, read.target)
    if counts is None or principal is None or answer is None or not principal.can(read.permission):
        return None
    if is_use_due(principal) or any(count > window.limit for window, count in zip(windows, counts, strict=True)):
        return None
    context.principal = principal
    return _Kept(answer, tightest(window.usage(count) for window, count in zip(windows, counts, strict=True)))
