"""What the server calls for each request. The apps must be loaded before this is imported."""

from functools import lru_cache
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.urls import ResolverMatch, get_resolver

from apps.users.remembered import answer_kept, note_answer

LONGEST_PATH = 512


class Application(WSGIHandler):
    """Answers what is kept ahead of Django, and gives an answer that is whole as a list: granian sends it at once and
    with its length. Anything else it reads piece by piece, in chunks and with the interpreter's lock taken for each.
    """

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        kept = answer_kept(environ)
        if kept is not None:
            status, headers, body = kept
            start_response(status, headers)
            return [body]
        response: Any = super().__call__(environ, start_response)
        if response.streaming:
            return response
        note_answer(environ, response)
        response.close()
        return [response.content]

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """As Django, which tries every pattern before the one that fits anew: a path that is asked again is known."""
        path = request.path_info
        match = _match(path) if len(path) <= LONGEST_PATH else get_resolver().resolve(path)
        request.resolver_match = match
        return match


@lru_cache(maxsize=2048)
def _match(path: str) -> ResolverMatch:
    return get_resolver().resolve(path)
