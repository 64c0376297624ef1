"""What the server calls for each request. The apps must be loaded before this is imported."""

from typing import Any

from django.core.handlers.wsgi import WSGIHandler

from apps.users.remembered import answer_kept, note_answer


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
