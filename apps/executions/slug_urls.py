"""Before the read of a prompt by slug, which takes every path that begins as its own."""

from functools import wraps

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, path

from apps.executions.views import ExecuteViewSet
from apps.prompts.urls import read_by_slug

_execute = ExecuteViewSet.as_view({"post": "execute_by_slug"})


@wraps(_execute)
def execute_or_read(request: HttpRequest, slug: str) -> HttpResponseBase:
    """A prompt may be called `…/execute`: then this is also where it is read."""
    if request.method in {"GET", "HEAD"}:
        read = read_by_slug(request, slug=f"{slug}/execute")
        if read.status_code != 404:
            return read
    return _execute(request, slug=slug)


urlpatterns: list[URLPattern | URLResolver] = [
    path("prompts/by-slug/<path:slug>/execute", execute_or_read, name="prompt-execute-by-slug")
]
